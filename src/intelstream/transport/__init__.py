"""Redis Streams between stages: the only package that reaches our Redis."""
