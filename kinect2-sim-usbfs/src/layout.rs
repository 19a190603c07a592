//! What a device's descriptors say of its interfaces and endpoints.

/// An alternate setting of an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Setting {
    pub(crate) interface: u8,
    pub(crate) alternate: u8,
    pub(crate) class: u8,
    pub(crate) endpoints: u8,
}

/// An endpoint of an alternate setting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) interface: u8,
    pub(crate) alternate: u8,
    /// `bEndpointAddress`.
    pub(crate) address: u8,
    pub(crate) kind: Kind,
}

/// `bmAttributes`, the two lowest bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Control,
    Isochronous,
    Bulk,
    Interrupt,
}

/// Interfaces and endpoints of the only configuration.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Layout {
    pub(crate) settings: Vec<Setting>,
    pub(crate) endpoints: Vec<Endpoint>,
}

impl Layout {
    /// Reads a configuration descriptor with all that follows it; stops at what makes no sense.
    pub(crate) fn parse(mut bytes: &[u8]) -> Self {
        const INTERFACE: u8 = 4;
        const ENDPOINT: u8 = 5;
        let mut layout = Layout::default();
        while let [length @ 2..=u8::MAX, kind, ..] = *bytes {
            let Some(descriptor) = bytes.get(..usize::from(length)) else { break };
            match (kind, descriptor) {
                (INTERFACE, &[_, _, interface, alternate, endpoints, class, ..]) => {
                    layout.settings.push(Setting { interface, alternate, class, endpoints });
                }
                (ENDPOINT, &[_, _, address, attributes, ..]) => {
                    let Some(setting) = layout.settings.last() else { break };
                    let kind = match attributes & 3 {
                        0 => Kind::Control,
                        1 => Kind::Isochronous,
                        2 => Kind::Bulk,
                        _ => Kind::Interrupt,
                    };
                    let (interface, alternate) = (setting.interface, setting.alternate);
                    layout.endpoints.push(Endpoint { interface, alternate, address, kind });
                }
                _ => {}
            }
            bytes = &bytes[usize::from(length)..];
        }
        layout
    }

    /// Numbers of the interfaces.
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter().filter(|setting| setting.alternate == 0)
    }

    /// The interface that an endpoint belongs to in any of its settings.
    pub(crate) fn interface_of(&self, address: u8) -> Option<u8> {
        self.endpoints.iter().find(|endpoint| endpoint.address == address).map(|endpoint| endpoint.interface)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_endpoints_are_found_past_what_is_unknown() {
        let bytes = [
            &[9, 2, 0, 0, 2, 1, 0, 0x80, 18][..],
            &[8, 11, 0, 2, 0xFF, 0, 0, 0],
            &[9, 4, 0, 0, 1, 0xFF, 0, 0, 0],
            &[7, 5, 0x02, 2, 0, 4, 0],
            &[6, 0x30, 0, 0, 0, 0],
            &[9, 4, 1, 0, 0, 0xFF, 0, 0, 0],
            &[9, 4, 1, 1, 1, 0xFF, 0, 0, 0],
            &[7, 5, 0x84, 1, 0, 4, 1],
            &[0, 0],
        ]
        .concat();
        let layout = Layout::parse(&bytes);
        assert_eq!(layout.interfaces().map(|setting| setting.interface).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(layout.interface_of(0x84), Some(1));
        assert_eq!(layout.endpoints[1].alternate, 1);
        assert_eq!(layout.endpoints[1].kind, Kind::Isochronous);
        assert_eq!(layout.interface_of(0x85), None);
        assert_eq!(Layout::parse(&bytes[..bytes.len() - 5]).endpoints.len(), 1);
    }
}
