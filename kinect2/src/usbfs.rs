//! The kernel's face to a USB device: a node of usbfs, and the requests (URBs) that are given to it.
