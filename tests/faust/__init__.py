"""Faust's own defects beside our cures: each test runs one scenario through both.

What a test asserts of stock Faust is the defect. When such a line fails, upstream has mended it,
and our cure may go. `defects.py` lists them all, with those that no test can show.
"""
