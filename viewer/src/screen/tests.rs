use super::*;

use proptest::prelude::*;

use crate::link::Event;
use crate::session::Lost;
use crate::ui::Key;
use crate::ui::tests::frame;

fn ui() -> Ui {
    let mut ui = Ui::new("camera.local:8080".into());
    ui.take(frame(Some(1)), Duration::ZERO);
    ui.point(Some((2, 1)));
    ui
}

fn draw(ui: &Ui, width: usize, height: usize) -> (Layout, Vec<u32>) {
    let layout = Layout::new(ui, Duration::ZERO, width, height, 1.0, 0);
    let mut pixels = vec![0x00ff_00ff; width * height];
    layout.draw(ui, &mut pixels);
    (layout, pixels)
}

fn text(layout: &Layout) -> String {
    layout
        .lines
        .iter()
        .map(|line| line.iter().map(|(text, _)| &**text).collect::<Vec<_>>().join("  ") + "\n")
        .collect()
}

#[test]
fn every_word_of_the_status_is_on_the_screen_at_usual_sizes() {
    let all: String = ui().status(Duration::ZERO).into_iter().map(|(text, _)| text).collect();
    let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    for (width, height) in [(320, 240), (400, 300), (512, 480), (768, 700), (1920, 1080), (300, 900)] {
        let (layout, pixels) = draw(&ui(), width, height);
        assert_eq!(letters(&text(&layout)), letters(&all), "{width}x{height}");
        for line in &layout.lines {
            let columns: usize = line.iter().map(|(text, _)| text.chars().count() + GAP).sum();
            let right = (MARGIN + (columns - GAP) * ADVANCE) * layout.scale;
            assert!(right <= width, "{width}x{height}: {line:?} ends at {right}");
        }
        assert!(
            pixels.contains(&COLOURS[usize::from(GOOD)]) && pixels.contains(&COLOURS[usize::from(PLAIN)])
        );
    }
    assert_eq!(draw(&ui(), 768, 700).0.scale, 2);
}

#[test]
fn where_there_is_no_room_it_says_so() {
    let (layout, _) = draw(&ui(), 160, 120);
    assert!(text(&layout).ends_with("...\n"), "{}", text(&layout));
    assert!(layout.lines.len() * LINE <= 60 && layout.picture.is_some_and(|place| place.height > 50));
}

#[test]
fn a_long_reason_is_broken_between_its_words() {
    let mut ui = ui();
    let why = Lost::Nonsense(
        "the pickle is no picture: at byte 12 it wants posix.system, and nothing of it was done".into(),
    );
    ui.take(Event::Lost(why, Duration::from_secs(1)), Duration::ZERO);
    let (layout, pixels) = draw(&ui, 320, 400);
    assert!(
        text(&layout)
            .starts_with("RECONNECTING to camera.local:8080 in 1 s: the pickle\nis no picture: at byte 12"),
        "{}",
        text(&layout)
    );
    assert!(pixels.contains(&COLOURS[usize::from(WARNING)]));
    assert_eq!(pieces("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
    assert_eq!(pieces("ab cd ef", 5), ["ab cd", "ef"]);
}

#[test]
fn the_picture_keeps_its_aspect_and_its_colours() {
    let ui = ui();
    let (layout, pixels) = draw(&ui, 800, 600);
    let place = layout.picture.unwrap();
    // 4 by 3, below a bar: as high as there is room.
    assert_eq!(place.height + bar(layout.lines.len(), layout.scale), 600);
    assert!((place.width * 3).abs_diff(place.height * 4) <= 4);
    for (x, y) in [(0, 0), (3, 0), (0, 2), (3, 2), (2, 1)] {
        let at = |n: usize, count: usize, side: usize| (2 * n + 1) * side / (2 * count);
        let (column, row) = (place.x + at(x, 4, place.width), place.y + at(y, 3, place.height));
        assert_eq!(place.pixel(column as f64, row as f64), Some((x, y)));
        let rgb = &ui.frame().unwrap().picture.rgb[3 * (y * 4 + x)..][..3];
        assert_eq!(pixels[row * 800 + column], u32::from_be_bytes([0, rgb[0], rgb[1], rgb[2]]));
    }
    assert_eq!(pixels[place.y * 800 + place.x - 1], GROUND);
    assert_eq!(place.pixel(place.x as f64 - 0.5, place.y as f64), None);
    assert_eq!(place.pixel((place.x + place.width) as f64, place.y as f64), None);
}

#[test]
fn the_picture_stays_where_it_is_while_words_change() {
    let mut ui = ui();
    let wide = |ui: &Ui, room| Layout::new(ui, Duration::ZERO, 400, 500, 1.0, room);
    ui.note("saved ".to_owned() + &"long/".repeat(30) + "name.png", Duration::ZERO);
    let with = wide(&ui, 0);
    let after = wide(&super::super::ui::Ui::new("c:1".into()), with.room);
    assert_eq!((after.room, after.lines.len() < with.lines.len()), (with.room, true));
    assert_eq!(wide(&self::ui(), with.room).picture, with.picture);
    assert!(
        wide(&self::ui(), 1000).picture.is_some_and(|place| place.height > 240),
        "but half is the picture's"
    );
}

#[test]
fn dialogs_lie_over_the_picture() {
    let plain = draw(&ui(), 768, 700).1;
    let help = HELP.map(|(key, what)| format!("{key:8}{what}"));
    for (key, lines) in [('?', &help[..]), ('x', &STOP.map(str::to_owned)[..])] {
        let mut ui = ui();
        ui.key(Key::Char(key));
        let (layout, pixels) = draw(&ui, 768, 700);
        let longest = lines.iter().map(String::len).max().unwrap();
        let changed = plain.iter().zip(&pixels).filter(|(a, b)| a != b).count();
        assert!(changed > longest * ADVANCE * lines.len() * LINE * layout.scale, "{key}: {changed}");
        // The middle of the window is inside the box.
        let middle = pixels[350 * 768 + 384];
        assert!(COLOURS.contains(&middle), "{middle:x}");
    }
}

/// The screen's text, as far as characters are drawn in `ink` from `x` and `y` on.
fn reads(pixels: &[u32], width: usize, (x, y): (usize, usize), scale: usize, tone: Tone, text: &str) -> bool {
    let mut ink = vec![0; pixels.len()];
    text::draw(&mut ink, width, x, y, scale, tone.ink(), text);
    ink.iter().zip(pixels).all(|(ink, pixel)| *ink == 0 || *pixel == COLOURS[usize::from(*ink)])
}

#[test]
fn beside_the_pointer_stands_what_is_there() {
    let mut ui = ui();
    let (width, height) = (800, 600);
    for at in [(0, 0), (3, 0), (0, 2), (3, 2), (2, 1)] {
        ui.point(Some(at));
        let (layout, pixels) = draw(&ui, width, height);
        let place = layout.picture.unwrap();
        let text = format!("colour {}", 10 + 4 * at.1 + at.0);
        assert_eq!(layout.here.as_ref().map(|here| &*here.text), Some(&*text));
        let found: Vec<(usize, usize)> = (0..place.y + place.height)
            .flat_map(|y| (place.x..place.x + place.width).map(move |x| (x, y)))
            // A quick look first: the word begins with the left edge of a `c`.
            .filter(|(x, y)| pixels[(y + 3 * layout.scale) * width + x] == COLOURS[usize::from(PLAIN)])
            .filter(|at| reads(&pixels, width, *at, layout.scale, Tone::Plain, &text))
            .collect();
        let [(x, y)] = found[..] else { panic!("{at:?}: {found:?}") };
        let (column, row) = place.middle(at);
        let (right, bottom) = (x + text::width(&text, layout.scale), y + GLYPH_HEIGHT * layout.scale);
        assert!(right <= place.x + place.width && bottom <= place.y + place.height, "{at:?}");
        assert!(
            !(x..right).contains(&column) || !(y..bottom).contains(&row),
            "{at:?}: the pixel itself is free"
        );
        assert!(
            x.abs_diff(column).min(right.abs_diff(column)) < 40
                && y.abs_diff(row).min(bottom.abs_diff(row)) < 40
        );
    }
}

#[test]
fn an_old_picture_is_dark() {
    let mut ui = ui();
    ui.point(None);
    let bright = draw(&ui, 800, 600).1;
    ui.take(Event::Lost(Lost::Silent, Duration::from_secs(1)), Duration::ZERO);
    let (layout, dark) = draw(&ui, 800, 600);
    let (x, y) = layout.picture.unwrap().middle((1, 1));
    let light = |pixel: u32| pixel.to_be_bytes().iter().map(|byte| u32::from(*byte)).sum::<u32>();
    assert!(layout.dark && light(dark[y * 800 + x]) * 3 < light(bright[y * 800 + x]));
}

#[test]
fn a_picture_of_another_size_has_another_place() {
    let mut ui = ui();
    let before = draw(&ui, 800, 600).0.picture.unwrap();
    let Event::Frame(mut turned) = frame(Some(2)) else { unreachable!() };
    (turned.picture.width, turned.picture.height) = (3, 4);
    ui.take(Event::Frame(turned), Duration::ZERO);
    ui.point(None);
    let (layout, pixels) = draw(&ui, 800, 600);
    let after = layout.picture.unwrap();
    assert!(before.width > before.height && after.width < after.height);
    let (x, y) = after.middle((2, 3));
    let last = &ui.frame().unwrap().picture.rgb[33..];
    assert_eq!(pixels[y * 800 + x], u32::from_be_bytes([0, last[0], last[1], last[2]]));
}

#[test]
fn text_grows_with_the_screen() {
    let scale = |width, factor| Layout::new(&ui(), Duration::ZERO, width, 2 * width, factor, 0).scale;
    for (factor, large) in [(1.0, 2), (1.25, 3), (1.5, 3), (2.0, 4), (3.0, 6)] {
        assert_eq!(scale((768.0 * factor) as usize, factor), large, "{factor}");
    }
    assert_eq!((scale(400, 1.0), scale(600, 1.5), scale(800, 2.0)), (1, 2, 2));
}

#[test]
fn names_in_other_letters_are_spelled_and_have_their_room() {
    let mut ui = ui();
    ui.note("지하주차장 Süd".into(), Duration::ZERO);
    for width in [200, 320, 768] {
        let (layout, _) = draw(&ui, width, 900);
        let words = text(&layout).replace('\n', " ");
        assert!(words.contains("jihajuchajang Süd"), "{words}");
        for line in &layout.lines {
            let columns: usize = line.iter().map(|(text, _)| text.chars().count() + GAP).sum();
            assert!((MARGIN + (columns - GAP) * ADVANCE) * layout.scale <= width, "{line:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_window_is_drawn(
        width in 0usize..900, height in 0usize..700, factor in 0.1f64..20.0, room in 0usize..30,
        name in any::<String>(), key in prop_oneof![Just('?'), Just('x'), Just(' ')], stopped in any::<bool>(),
    ) {
        let mut ui = ui();
        ui.key(Key::Char(key));
        ui.note(name, Duration::ZERO);
        if stopped {
            ui.take(Event::Lost(Lost::Silent, Duration::ZERO), Duration::ZERO);
        }
        let layout = Layout::new(&ui, Duration::ZERO, width, height, factor, room);
        let mut pixels = vec![0x00ff_00ff; width * height];
        layout.draw(&ui, &mut pixels);
        prop_assert!(!pixels.contains(&0x00ff_00ff), "every pixel is drawn");
        if let Some(place) = layout.picture {
            prop_assert!(place.x + place.width <= width && place.y + place.height <= height);
        }
    }

    #[test]
    fn a_place_is_inside_and_as_large_as_can_be(
        columns in 1usize..2000, rows in 1usize..2000, width in 1usize..3000, height in 1usize..3000,
    ) {
        let place = Place::fit(columns, rows, width, height).unwrap();
        prop_assert!(place.width <= width && place.height <= height);
        prop_assert!(place.width == width || place.height == height);
        let (last_x, last_y) = ((place.x + place.width) as f64 - 1e-6, (place.y + place.height) as f64 - 1e-6);
        prop_assert_eq!(place.pixel(last_x, last_y), Some((columns - 1, rows - 1)));
        prop_assert_eq!(place.pixel(place.x as f64, place.y as f64), Some((0, 0)));
    }
}
