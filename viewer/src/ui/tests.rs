use super::*;

use std::time::SystemTime;

use depthcast::proto::websocket::DepthHead;

use crate::depth::Broken;
use crate::picture::{About, Kind, Picture};
use crate::session::Lost;
use crate::textblock::TextBlock;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A picture of 4 by 3 pixels whose indices count from 10; of depthcast if `seq` says so.
pub(crate) fn frame(seq: Option<u64>) -> Event {
    let index: Vec<u8> = (10..22).collect();
    let about = seq.map(|seq| About { seq, captured: 0.0, online: true, range_mm: Some((0, 1500)) });
    let rgb =
        index.iter().flat_map(|i| depthcast::colormap::JET[3 * usize::from(*i)..][..3].to_vec()).collect();
    let picture = Picture { width: 4, height: 3, rgb, kind: Kind::Indexed(index), about };
    let text = "Cam_Info_List\n    -Name: camera01\n    -Location: Underground Parking(B2)\nEvent_Info_List\n    -EventID: 0";
    Event::Frame(Box::new(Frame {
        number: 1,
        text: TextBlock::parse(text.as_bytes()),
        picture,
        file: Vec::new(),
        payload: 48_001,
        received: SystemTime::UNIX_EPOCH,
        waited: Duration::ZERO,
    }))
}

fn depth(seq: u64) -> Event {
    let mm = (0..12).map(|n| if n == 0 { 0 } else { 1000 * seq as u16 + n }).collect();
    let head = DepthHead { seq, captured_us: 0, age_ms: 40, length: 0 };
    Event::Depth(Box::new(Depth { head, width: 4, height: 3, mm }))
}

fn says(ui: &Ui, now: Duration) -> String {
    ui.status(now).into_iter().map(|(text, _)| text + "|").collect()
}

#[test]
fn a_window_from_its_first_picture_to_a_lost_connection() {
    let mut ui = Ui::new("camera:8080".into());
    assert!(says(&ui, ms(0)).starts_with("connecting to camera:8080|"));
    assert_eq!(ui.title(), "camera:8080");
    ui.take(Event::Connected("127.0.0.1:1".parse().unwrap()), ms(10));
    assert!(says(&ui, ms(10)).contains("may be serving another viewer"));
    for n in 0..31 {
        ui.take(frame(None), ms(1000 + 100 * n));
    }
    let status = says(&ui, ms(4050));
    assert_eq!(
        status,
        "LIVE|camera01, Underground Parking(B2)|10.0 fps|came 50 ms ago|4x3 PNG, palette 49 kB|? keys|"
    );
    assert_eq!(ui.title(), "camera01 - camera:8080");
    assert!(says(&ui, ms(7500)).starts_with("nothing for 3 s|"));
    ui.take(Event::Lost(Lost::Closed { inside: true }, ms(1500)), ms(8000));
    assert!(says(&ui, ms(8000)).starts_with(
        "RECONNECTING to camera:8080 in 2 s: the server closed the connection in the middle of a picture|"
    ));
    assert!(says(&ui, ms(9600)).starts_with("RECONNECTING to camera:8080 now: "));
    assert!(ui.frame().is_some(), "the last picture stays");
    ui.take(Event::Connected("127.0.0.1:1".parse().unwrap()), ms(9700));
    assert!(says(&ui, ms(9700)).starts_with("connected to camera:8080, waiting|"));
    ui.take(frame(None), ms(9800));
    assert!(says(&ui, ms(9801)).starts_with("LIVE|"));
}

#[test]
fn under_the_pointer_is_a_distance_of_the_picture_that_is_shown() {
    let mut ui = Ui::new("c:1".into());
    ui.point(Some((1, 2)));
    ui.take(frame(Some(7)), ms(0));
    assert!(says(&ui, ms(0)).contains("|1,2: colour 19|"));
    ui.take(depth(6), ms(0));
    assert!(says(&ui, ms(0)).contains("|1,2: 6.009 m|"), "the newest there is");
    ui.take(depth(7), ms(1));
    ui.take(depth(8), ms(2));
    assert!(says(&ui, ms(5)).contains("|1,2: 7.009 m|"), "the very one");
    assert!(says(&ui, ms(5)).contains("|age 43 ms|"));
    ui.point(Some((0, 0)));
    assert!(says(&ui, ms(5)).contains("|0,0: no return|"));
    ui.take(frame(Some(7)), ms(2500));
    assert!(says(&ui, ms(3000)).contains("|0,0: colour 10|"), "an old distance is none");
    ui.point(None);
    assert!(!says(&ui, ms(5)).contains("0,0"));
    ui.point(Some((1, 2)));
    ui.take(Event::NoDepth(Broken::Token), ms(6));
    assert!(
        says(&ui, ms(6)).contains("|1,2: colour 19; no distance: the server wants a valid token (--token)|")
    );
    let Event::Frame(mut placeholder) = frame(Some(7)) else { unreachable!() };
    placeholder.picture.about.as_mut().unwrap().online = false;
    ui.take(depth(7), ms(7));
    ui.take(Event::Frame(placeholder), ms(7));
    let status = says(&ui, ms(7));
    assert!(status.starts_with("the camera has NO SIGNAL|") && !status.contains(" m|"), "{status}");
}

#[test]
fn frozen_is_frozen_and_goes_on() {
    let mut ui = Ui::new("c:1".into());
    assert_eq!(ui.key(Key::Char(' ')), Some(Action::Redraw));
    ui.take(frame(Some(1)), ms(0));
    ui.take(depth(1), ms(0));
    assert!(says(&ui, ms(0)).starts_with("LIVE|"), "nothing was there to freeze");
    ui.key(Key::Char(' '));
    ui.take(frame(Some(2)), ms(40));
    ui.take(depth(2), ms(40));
    ui.point(Some((1, 0)));
    let status = says(&ui, ms(60_000));
    assert!(status.starts_with("FROZEN|1,0: 1.001 m|"), "{status}");
    assert_eq!(ui.frame().unwrap().picture.about.as_ref().unwrap().seq, 1);
    ui.key(Key::Char(' '));
    ui.take(frame(Some(3)), ms(80));
    assert_eq!(ui.frame().unwrap().picture.about.as_ref().unwrap().seq, 3);
}

#[test]
fn the_server_is_stopped_by_x_and_y_only() {
    let mut ui = Ui::new("c:1".into());
    for other in [Key::Char('n'), Key::Escape, Key::Char('x'), Key::Char('q'), Key::Char(' '), Key::Char('2')]
    {
        assert_eq!(ui.key(Key::Char('x')), Some(Action::Redraw));
        assert_eq!(ui.dialog(), Dialog::Stop);
        assert_eq!(ui.key(other), Some(Action::Redraw), "{other:?}");
        assert_eq!(ui.dialog(), Dialog::None);
    }
    assert_eq!(ui.key(Key::Char('y')), None, "nobody has asked");
    ui.key(Key::Char('x'));
    assert_eq!(ui.key(Key::Char('y')), Some(Action::Stop));
}

#[test]
fn keys() {
    let mut ui = Ui::new("c:1".into());
    let keys = [('q', Action::Leave), ('s', Action::Save), ('f', Action::FullScreen)];
    for (key, action) in keys {
        assert_eq!(ui.key(Key::Char(key)), Some(action));
    }
    assert_eq!((ui.key(Key::Char('k')), ui.key(Key::Escape)), (None, Some(Action::Smaller)));
    ui.key(Key::Char('?'));
    assert_eq!(ui.dialog(), Dialog::Help);
    assert_eq!(ui.key(Key::Char('s')), Some(Action::Save), "keys work below their list");
    ui.key(Key::Escape);
    assert_eq!(ui.dialog(), Dialog::None);
    ui.note("saved a.png".into(), ms(0));
    assert!(says(&ui, ms(5999)).contains("|saved a.png|") && !says(&ui, ms(6000)).contains("saved"));
}

#[test]
fn a_picture_of_some_time_ago_is_not_measured() {
    let mut ui = Ui::new("c:1".into());
    ui.point(Some((1, 0)));
    assert_eq!((ui.here(ms(0)), ui.is_stale(ms(0))), (None, true));
    ui.take(frame(Some(1)), ms(0));
    ui.take(depth(1), ms(0));
    assert_eq!(ui.here(ms(1999)), Some(Here { text: "1.001 m".into(), tone: Tone::Good }));
    assert!(!ui.is_stale(ms(1999)) && ui.is_stale(ms(2000)));
    assert_eq!(ui.here(ms(2000)), None);
    ui.take(frame(Some(2)), ms(2100));
    assert!(!ui.is_stale(ms(2100)));
    ui.take(Event::Lost(Lost::Silent, ms(250)), ms(2200));
    assert!(ui.is_stale(ms(2200)), "at once");
    assert_eq!(ui.here(ms(2200)), None);
    ui.key(Key::Char(' '));
    assert!(!ui.is_stale(ms(2200)), "who freezes a picture knows that it is old");
}

#[test]
fn a_picture_of_another_size_is_not_measured_with_the_depth_of_before() {
    let mut ui = Ui::new("c:1".into());
    ui.point(Some((3, 1)));
    ui.take(frame(Some(1)), ms(0));
    ui.take(depth(1), ms(0));
    let Event::Frame(mut turned) = frame(Some(2)) else { unreachable!() };
    (turned.picture.width, turned.picture.height) = (3, 4);
    ui.take(Event::Frame(turned.clone()), ms(10));
    assert_eq!((ui.depth(), ui.here(ms(10))), (None, None), "there is no fourth column any more");
    ui.point(Some((2, 3)));
    assert_eq!(ui.here(ms(10)), Some(Here { text: "colour 21".into(), tone: Tone::Plain }));
    let Event::Depth(mut fitting) = depth(2) else { unreachable!() };
    (fitting.width, fitting.height) = (3, 4);
    ui.take(Event::Depth(fitting), ms(20));
    assert_eq!(ui.here(ms(20)), Some(Here { text: "2.011 m".into(), tone: Tone::Good }));
}

#[test]
fn what_the_colours_mean_is_said() {
    let mut ui = Ui::new("c:1".into());
    ui.take(frame(None), ms(0));
    assert!(!says(&ui, ms(0)).contains("blue"), "the Python server does not say");
    ui.take(frame(Some(1)), ms(0));
    assert!(says(&ui, ms(0)).contains("|blue 0 to red 1.5 m|"));
}
