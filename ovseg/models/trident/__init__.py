"""Trident: CLIP names, DINO and SAM join what belongs together, SAM draws the borders."""
