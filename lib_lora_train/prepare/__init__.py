"""From a folder of pictures to a training set: check, crop, matte, tag."""
