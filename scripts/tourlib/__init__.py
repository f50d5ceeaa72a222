"""The tour's scenes. Standard library only; everything goes through the public command line and HTTPS."""
