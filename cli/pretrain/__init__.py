"""Commands that make an encoder: pretrain, shards."""
