"""One module a page: from what was asked for to what the template shows."""
