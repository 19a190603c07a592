//! The program's memory, as its `ioctl`s name it.
#![allow(unsafe_code, reason = "addresses come from the program, as they come to a kernel")]

use nix::errno::Errno;

use crate::abi;

/// Leave to use the addresses that the program hands over in an `ioctl` and in the URBs it submits.
#[derive(Debug)]
pub(crate) struct Memory(());

/// What may be read from and written to a program's memory whatever its bits are.
///
/// # Safety
/// Every pattern of bits is a value of the type.
unsafe trait Plain: Copy {}

// SAFETY: integers alone, in C's layout.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for usize {}
// SAFETY: as above.
unsafe impl Plain for abi::ControlTransfer {}
// SAFETY: as above.
unsafe impl Plain for abi::BulkTransfer {}
// SAFETY: as above.
unsafe impl Plain for abi::SetInterface {}
// SAFETY: as above.
unsafe impl Plain for abi::GetDriver {}
// SAFETY: as above.
unsafe impl Plain for abi::ConnectInfo {}
// SAFETY: as above.
unsafe impl Plain for abi::DriverIoctl {}
// SAFETY: as above.
unsafe impl Plain for abi::DisconnectClaim {}
// SAFETY: as above.
unsafe impl Plain for abi::Urb {}
// SAFETY: as above.
unsafe impl Plain for abi::Packet {}

impl Memory {
    /// Memory of the program whose `ioctl` is being answered.
    ///
    /// # Safety
    /// The addresses used with it are those of this `ioctl`'s argument, and of URBs, with their packets and buffers,
    /// that the program submitted and that have not been reaped: usbfs's contract says that they are valid and that
    /// nobody else uses them meanwhile.
    pub(crate) unsafe fn of_program() -> Self {
        Memory(())
    }

    /// The value at an address.
    ///
    /// # Errors
    /// `EFAULT` if the address is null; other bad addresses are a fault of the whole program, unlike in a kernel.
    #[expect(private_bounds, reason = "the list of types is this module's business")]
    pub(crate) fn read<T: Plain>(&self, address: usize) -> Result<T, Errno> {
        check(address)?;
        // SAFETY: `of_program` was given leave for the address, and any bits make a `T`.
        Ok(unsafe { (address as *const T).read_unaligned() })
    }

    /// Puts a value at an address.
    ///
    /// # Errors
    /// As [`Memory::read`].
    #[expect(private_bounds, reason = "the list of types is this module's business")]
    pub(crate) fn write<T: Plain>(&self, address: usize, value: T) -> Result<(), Errno> {
        check(address)?;
        // SAFETY: `of_program` was given leave for the address, and the program reads no reference of Rust's through it.
        unsafe { (address as *mut T).write_unaligned(value) };
        Ok(())
    }

    /// Copies from the program.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub(crate) fn read_bytes(&self, address: usize, to: &mut [u8]) -> Result<(), Errno> {
        if to.is_empty() {
            return Ok(());
        }
        check(address)?;
        // SAFETY: `of_program` was given leave for the buffer; ours is another.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// Copies to the program.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub(crate) fn write_bytes(&self, address: usize, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.is_empty() {
            return Ok(());
        }
        check(address)?;
        // SAFETY: `of_program` was given leave for the buffer; ours is another.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        Ok(())
    }
}

fn check(address: usize) -> Result<(), Errno> {
    if address == 0 { Err(Errno::EFAULT) } else { Ok(()) }
}
