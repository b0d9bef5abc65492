"""The second implementation of the contract's section 4, which `pairstream verify` runs too."""

from pairstream.verify.expected import settle

__all__ = ["settle"]
