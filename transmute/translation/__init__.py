"""Translation of images with trained models. Independent of methods and training."""
