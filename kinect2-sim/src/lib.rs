//! A simulated Kinect v2.
