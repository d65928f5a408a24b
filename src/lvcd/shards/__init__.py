"""The format of shards: tar files of clips are written, read, indexed and resumed here."""
