"""The site of `pairstream ui`: pages made on the server, from an index of the topics and files."""
