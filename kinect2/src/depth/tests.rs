//! Vectors from the sensor's description, and kernels against the reference.
