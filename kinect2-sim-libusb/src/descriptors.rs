//! The device's descriptors as the structures that C callers walk through.

use std::ffi::c_int;
use std::ptr;

use crate::abi::{
    CompanionDescriptor, ConfigDescriptor, DeviceDescriptor, EndpointDescriptor, Interface,
    InterfaceDescriptor,
};

/// A configuration descriptor and all it points to, freed together.
///
/// Its address is that of [`Config::head`], which is all that a C caller sees.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Config {
    head: ConfigDescriptor,
    interfaces: Vec<Interface>,
    settings: Vec<Vec<InterfaceDescriptor>>,
    endpoints: Vec<Vec<EndpointDescriptor>>,
    /// What the `extra` pointers point into.
    bytes: Vec<u8>,
}

impl Config {
    /// Reads a configuration descriptor with all that follows it; `None` if it is none. Stops at what makes no sense.
    ///
    /// As in libusb, what stands behind a descriptor and is none of those known becomes its `extra`.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Box<Self>> {
        let bytes = bytes.to_vec();
        let &[length, CONFIG, total_low, total_high, _, value, index, attributes, power, ..] = &bytes[..]
        else {
            return None;
        };
        let (mut settings, mut endpoints) = (Vec::<Vec<InterfaceDescriptor>>::new(), Vec::new());
        let mut at = usize::from(length);
        let mut extra = Extra::behind(&bytes, &mut at);
        let head_extra = (extra.start, extra.length);
        while let Some(&[length @ 2..=u8::MAX, kind, ref rest @ ..]) = bytes.get(at..) {
            at += usize::from(length);
            match (kind, rest) {
                (INTERFACE, &[number, alternate, count, class, sub_class, protocol, text, ..]) => {
                    extra = Extra::behind(&bytes, &mut at);
                    let setting = InterfaceDescriptor {
                        bLength: length,
                        bDescriptorType: kind,
                        bInterfaceNumber: number,
                        bAlternateSetting: alternate,
                        bNumEndpoints: count,
                        bInterfaceClass: class,
                        bInterfaceSubClass: sub_class,
                        bInterfaceProtocol: protocol,
                        iInterface: text,
                        endpoint: ptr::null(),
                        extra: extra.start,
                        extra_length: extra.length,
                    };
                    endpoints.push(Vec::new());
                    match settings.last_mut() {
                        Some(same) if same[0].bInterfaceNumber == number => same.push(setting),
                        _ => settings.push(vec![setting]),
                    }
                }
                (ENDPOINT, &[address, attributes, size_low, size_high, interval, ref audio @ ..]) => {
                    let of_audio = if length >= 9 { audio } else { &[] };
                    extra = Extra::behind(&bytes, &mut at);
                    endpoints.last_mut()?.push(EndpointDescriptor {
                        bLength: length,
                        bDescriptorType: kind,
                        bEndpointAddress: address,
                        bmAttributes: attributes,
                        wMaxPacketSize: u16::from_le_bytes([size_low, size_high]),
                        bInterval: interval,
                        bRefresh: of_audio.first().copied().unwrap_or(0),
                        bSynchAddress: of_audio.get(1).copied().unwrap_or(0),
                        extra: extra.start,
                        extra_length: extra.length,
                    });
                }
                _ => break,
            }
        }
        // The pointers are taken when nothing is pushed any more.
        for (setting, endpoints) in settings.iter_mut().flatten().zip(&endpoints) {
            setting.bNumEndpoints = u8::try_from(endpoints.len()).ok()?;
            setting.endpoint = endpoints.as_ptr();
        }
        let interface = |settings: &Vec<InterfaceDescriptor>| Interface {
            altsetting: settings.as_ptr(),
            num_altsetting: c_int::try_from(settings.len()).unwrap_or(c_int::MAX),
        };
        let interfaces: Vec<Interface> = settings.iter().map(interface).collect();
        let head = ConfigDescriptor {
            bLength: length,
            bDescriptorType: CONFIG,
            wTotalLength: u16::from_le_bytes([total_low, total_high]),
            bNumInterfaces: u8::try_from(interfaces.len()).ok()?,
            bConfigurationValue: value,
            iConfiguration: index,
            bmAttributes: attributes,
            MaxPower: power,
            interface: interfaces.as_ptr(),
            extra: head_extra.0,
            extra_length: head_extra.1,
        };
        Some(Box::new(Config { head, interfaces, settings, endpoints, bytes }))
    }
}

/// Bytes behind a descriptor, up to the next that libusb knows.
struct Extra {
    start: *const u8,
    length: c_int,
}

impl Extra {
    /// Moves `at` on to what is known, or to the end.
    fn behind(bytes: &[u8], at: &mut usize) -> Self {
        let from = *at;
        while let Some(&[length, kind, ..]) = bytes.get(*at..) {
            if matches!(kind, INTERFACE | ENDPOINT) || length < 2 || *at + usize::from(length) > bytes.len() {
                break;
            }
            *at += usize::from(length);
        }
        match bytes.get(from..*at) {
            Some(extra @ [_, ..]) => Extra {
                start: extra.as_ptr(),
                length: c_int::try_from(extra.len()).expect("a configuration is shorter than 64 KiB"),
            },
            _ => Extra { start: ptr::null(), length: 0 },
        }
    }
}

/// The device descriptor in the host's byte order.
pub(crate) fn device(bytes: &[u8; 18]) -> DeviceDescriptor {
    let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    DeviceDescriptor {
        bLength: bytes[0],
        bDescriptorType: bytes[1],
        bcdUSB: word(2),
        bDeviceClass: bytes[4],
        bDeviceSubClass: bytes[5],
        bDeviceProtocol: bytes[6],
        bMaxPacketSize0: bytes[7],
        idVendor: word(8),
        idProduct: word(10),
        bcdDevice: word(12),
        iManufacturer: bytes[14],
        iProduct: bytes[15],
        iSerialNumber: bytes[16],
        bNumConfigurations: bytes[17],
    }
}

/// The companion among the bytes behind an endpoint.
pub(crate) fn companion(mut extra: &[u8]) -> Option<CompanionDescriptor> {
    while let &[length @ 2..=u8::MAX, kind, ..] = extra {
        if let (COMPANION, Some(&[burst, attributes, low, high, ..])) = (kind, extra.get(2..)) {
            return Some(CompanionDescriptor {
                bLength: length,
                bDescriptorType: kind,
                bMaxBurst: burst,
                bmAttributes: attributes,
                wBytesPerInterval: u16::from_le_bytes([low, high]),
            });
        }
        extra = extra.get(usize::from(length)..)?;
    }
    None
}

const CONFIG: u8 = 2;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;
const COMPANION: u8 = 0x30;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        [
            &[9, 2, 0x55, 0x01, 2, 1, 7, 0xC0, 18][..],
            &[8, 11, 0, 2, 0xFF, 0, 0, 0],
            &[9, 4, 0, 0, 2, 0xFF, 1, 2, 3],
            &[7, 5, 0x02, 2, 0, 4, 0],
            &[6, 0x30, 3, 0, 0, 0],
            &[7, 5, 0x81, 2, 0, 4, 0],
            &[9, 4, 1, 0, 0, 0xFF, 0, 0, 0],
            &[9, 4, 1, 1, 1, 0xFF, 0, 0, 0],
            &[7, 5, 0x84, 1, 0, 4, 1],
            &[6, 0x30, 10, 2, 0x00, 0x84],
            &[8, 11, 2, 2, 1, 0, 0, 0],
        ]
        .concat()
    }

    #[test]
    fn interfaces_settings_and_endpoints_are_found() {
        let config = Config::parse(&bytes()).unwrap();
        assert_eq!((config.head.wTotalLength, config.head.bNumInterfaces), (0x155, 2));
        assert_eq!((config.head.MaxPower, config.head.extra_length), (18, 8));
        assert_eq!(config.settings.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(config.interfaces[1].num_altsetting, 2);
        assert_eq!(config.endpoints.iter().map(Vec::len).collect::<Vec<_>>(), [2, 0, 1]);
        let depth = &config.endpoints[2][0];
        assert_eq!((depth.bEndpointAddress, depth.bmAttributes, depth.wMaxPacketSize), (0x84, 1, 1024));
        assert_eq!(depth.extra_length, 14);
        assert_eq!(config.settings[1][1].endpoint, config.endpoints[2].as_ptr());
        assert_eq!(config.endpoints[0][0].extra, config.bytes[33..].as_ptr());
    }

    #[test]
    fn the_companion_is_found_past_what_is_unknown() {
        let extra = [3, 0xFF, 0, 6, 0x30, 10, 2, 0x00, 0x84];
        let companion = companion(&extra).unwrap();
        assert_eq!((companion.bMaxBurst, companion.bmAttributes), (10, 2));
        assert_eq!(companion.wBytesPerInterval, 33_792);
        assert!(super::companion(&extra[..8]).is_none());
        assert!(super::companion(&[0, 0x30, 0, 0, 0, 0]).is_none());
    }

    #[test]
    fn what_is_cut_off_is_an_error_or_shorter() {
        let whole = bytes();
        for length in 0..whole.len() {
            let parsed = Config::parse(&whole[..length]);
            assert_eq!(parsed.is_some(), length >= 9, "{length} bytes");
        }
        assert!(Config::parse(&[9, 1, 0, 0, 0, 0, 0, 0, 0]).is_none());
    }
}
