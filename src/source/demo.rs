//! The built-in synthetic car park.
