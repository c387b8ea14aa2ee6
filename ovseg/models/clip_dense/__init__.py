"""CLIP's own patches, named: CLIP ViT dense, MaskCLIP, SCLIP, NACLIP, ProxyCLIP."""
