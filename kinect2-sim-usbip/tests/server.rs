//! The program over its socket, with a client written by hand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything takes; a test that fails must not hang.
const LIMIT: Duration = Duration::from_secs(20);
/// Bytes of the answer to an import: granted, and refused.
const GRANTED: usize = 320;
const REFUSED: usize = 8;

struct Server {
    child: Child,
    /// `None` once they have come to an end.
    orders: Option<ChildStdin>,
    port: u16,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kinect2-sim-usbip"))
            .args(["--port", "0", "--frames", "noise"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening on 127.0.0.1:").unwrap().parse().unwrap();
        let orders = child.stdin.take();
        Server { child, orders, port }
    }

    fn order(&mut self, line: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{line}").unwrap();
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Asks for the sensor; whether it was given.
    fn import(&self) -> Option<TcpStream> {
        let mut stream = self.connect();
        let mut bytes = vec![0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];
        bytes.extend_from_slice(b"1-1");
        bytes.resize(40, 0);
        stream.write_all(&bytes).unwrap();
        let mut answer = [0; GRANTED];
        stream.read_exact(&mut answer[..REFUSED]).unwrap();
        if answer[7] != 0 {
            return None;
        }
        stream.read_exact(&mut answer[REFUSED..]).unwrap();
        Some(stream)
    }

    /// Asks until it is given: what another had is free only when the server has seen it go.
    fn import_again(&self) -> TcpStream {
        let begun = Instant::now();
        loop {
            if let Some(stream) = self.import() {
                return stream;
            }
            assert!(begun.elapsed() < LIMIT, "the sensor is not given again");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks for the device descriptor and takes the reply.
fn descriptor(stream: &mut TcpStream, sequence: u32) -> [u8; 18] {
    let mut bytes = Vec::new();
    for word in [1, sequence, 0x0001_0002, 1, 0, 0, 18, 0, u32::MAX, 0] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes.extend_from_slice(&[0x80, 6, 0, 1, 0, 0, 18, 0]);
    stream.write_all(&bytes).unwrap();
    let mut reply = [0; 48 + 18];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..8], [0, 0, 0, 3, 0, 0, 0, sequence.to_be_bytes()[3]]);
    reply[48..].try_into().unwrap()
}

/// Whether the server ends the connection.
fn ends(mut stream: TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Ok(0)) || stream.take_error().is_ok_and(|error| error.is_some())
}

#[test]
fn one_client_has_the_sensor_and_the_next_gets_it_after_that() {
    let server = Server::start(&[]);
    let mut first = server.import().unwrap();
    assert_eq!(descriptor(&mut first, 1)[8..10], [0x5E, 0x04]);
    assert!(server.import().is_none());
    assert_eq!(descriptor(&mut first, 2)[8..10], [0x5E, 0x04]);
    drop(first);
    descriptor(&mut server.import_again(), 3);
}

#[test]
fn unplugged_the_connection_ends_and_nothing_is_given_until_it_is_plugged() {
    let mut server = Server::start(&[]);
    let mut stream = server.import().unwrap();
    descriptor(&mut stream, 1);
    server.order("unplug");
    assert!(ends(stream));
    assert!(server.import().is_none());
    server.order("plug");
    descriptor(&mut server.import_again(), 1);
}

#[test]
fn a_client_that_breaks_the_protocol_is_alone_in_being_thrown_out() {
    let server = Server::start(&[]);
    let mut good = server.import().unwrap();
    let mut bad = server.connect();
    bad.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(ends(bad));
    descriptor(&mut good, 1);
}

#[test]
fn an_order_that_is_none_and_the_end_of_the_orders_end_nothing() {
    let mut server = Server::start(&[]);
    server.order("explode");
    server.orders = None;
    descriptor(&mut server.import().unwrap(), 1);
}
