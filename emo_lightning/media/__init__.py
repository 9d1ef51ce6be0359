"""Reading and writing audio, images and video."""
