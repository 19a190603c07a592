//! What is done to a depth image before anybody sees it.

/// How the view differs from what the sensor sees.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Spec {
    /// Turn by 180 degrees: the sensor hangs upside down.
    pub rotate_180: bool,
    /// Mirror, after turning.
    pub flip: Flip,
    /// Nothing beyond this many millimetres is shown or sent.
    pub clip_mm: Option<u16>,
    /// Polygons that are never shown or sent: x and y of each corner in output pixels, after turning and mirroring.
    pub masks: Vec<Vec<[u16; 2]>>,
    /// Burn clock and sequence number into pictures, never into depth.
    pub overlay: bool,
}

/// An axis along which the image is mirrored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Flip {
    /// Not mirrored.
    #[default]
    None,
    /// Left and right change places.
    X,
    /// Top and bottom change places.
    Y,
}
