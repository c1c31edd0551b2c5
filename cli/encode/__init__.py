"""Commands that use an encoder: models, embed, predict, merge, export."""
