"""Looks at all that a deployment needs, and says what to do about what is wrong."""
