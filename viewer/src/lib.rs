//! `depthcast-view`: a viewer for depthcast, and for the Python server that depthcast replaces.
//!
//! ```text
//!   server ---- Python protocol ---> link ---> message --> pickle --> picture --+--> ui --> screen --> window
//!          \                          |        textblock                        |    keys, what is shown
//!           +-- /ws, if depthcast --> depth -----------------------------------+--> headless: files, lines, figures
//!                                     |
//!                                  session: whether to connect, ask, rest or leave; no socket, no clock
//! ```
//!
//! A server may be anything: what it sends is taken apart within [`limits`], and what is not a picture is refused in
//! words. Nothing that a pickle asks for is ever done.

// What is asked for, and what is said when it cannot be done.
pub mod cli;
pub mod failure;

// What is taken, and for how long is waited.
pub mod limits;

// What a server sends.
pub mod depth;
pub mod message;
pub mod pickle;
pub mod picture;
pub mod textblock;

// The conversation, and the sockets it is led over.
pub mod link;
pub mod session;

// What becomes of the pictures.
pub mod headless;
pub mod save;
pub mod screen;
pub mod ui;
#[cfg(feature = "window")]
pub mod window;
