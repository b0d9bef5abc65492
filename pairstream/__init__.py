"""The command line: thin commands around schemas, streams and trainer."""
