"""How good translations are: features of pictures, and figures made of them."""
