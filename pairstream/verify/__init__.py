"""A second, plain implementation of the contract, and what it finds in topics and files."""
