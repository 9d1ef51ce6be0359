"""Stage 3: keypoints, dense motion, generator, discriminator and the refiner."""
