//! The window: winit for keys and the pointer, softbuffer for pixels. What they mean is in `ui` and `screen`.
//!
//! The link runs on a thread of its own and wakes this one; pixels are drawn here, when something has changed.

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::ops::ControlFlow as Flow;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use depthcast::camera::LocalClock;
use depthcast::colormap::JET;
use softbuffer::{Context, Surface};
use winit::application::ApplicationHandler;
use winit::dpi::{LogicalSize, PhysicalPosition, PhysicalSize};
use winit::event::{ElementState, KeyEvent, StartCause, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop, OwnedDisplayHandle};
use winit::keyboard::{Key as WinitKey, KeyCode, NamedKey, PhysicalKey};
use winit::platform::wayland::WindowAttributesExtWayland;
use winit::platform::x11::WindowAttributesExtX11;
use winit::window::{Fullscreen, Icon, Window, WindowId};

use crate::failure::Failure;
use crate::link::{Ended, Event, Link, Options, Remote};
use crate::save;
use crate::screen::Layout;
use crate::session::Leave;
use crate::ui::{Action, Key, Ui};

/// Ages and rests are shown anew this often.
const REFRESH: Duration = Duration::from_millis(200);

/// News that may wait for a window which does not come to draw; then the link waits too, and the server skips pictures.
const NEWS_MAX: usize = 8;

/// Room for a line of status is kept this long after it was last needed.
const KEEP_ROOM: Duration = Duration::from_secs(10);

/// Shows a server until the user leaves. Returns what is to be said after that, if anything.
///
/// * `folder`: where `s` saves.
///
/// # Errors
/// [`Failure::CannotStart`] when it cannot be opened, [`Failure::Failed`] after that.
pub fn run(options: Options, folder: PathBuf) -> Result<Option<&'static str>, Failure> {
    let event_loop = EventLoop::<()>::with_user_event().build().map_err(no_window)?;
    let context = Context::new(event_loop.owned_display_handle()).map_err(no_window)?;
    let ui = Ui::new(options.server.to_string());
    let (link, remote) = Link::new(options).map_err(no_window)?;
    let (sender, news) = mpsc::sync_channel(NEWS_MAX);
    let proxy = event_loop.create_proxy();
    thread::spawn(move || {
        let tell = |news: News| {
            // A window that is gone needs no news.
            let _ = sender.send(news);
            let _ = proxy.send_event(());
        };
        let ended = link.run(|event| {
            tell(News::Event(event));
            Flow::Continue(())
        });
        tell(News::Ended(ended));
    });
    let mut app = App {
        ui,
        context,
        shown: None,
        pointer: None,
        remote,
        news,
        folder,
        clock: LocalClock::system(),
        started: Instant::now(),
        leaving: None,
        result: Ok(None),
    };
    event_loop.run_app(&mut app).map_err(|error| Failure::Failed(error.to_string()))?;
    app.result
}

fn no_window(error: impl fmt::Display) -> Failure {
    let text = error.to_string();
    // winit puts the place in its own sources in front.
    let why =
        text.rsplit_once(".rs:").and_then(|(_, rest)| rest.split_once(": ")).map_or(&*text, |(_, why)| why);
    let why = why.trim_end_matches('.');
    Failure::CannotStart(format!("there is no window: {why}; --frames, --print and --bench need none"))
}

/// What the link's thread tells.
enum News {
    Event(Event),
    Ended(io::Result<Ended>),
}

struct App {
    ui: Ui,
    context: Context<OwnedDisplayHandle>,
    shown: Option<Shown>,
    pointer: Option<PhysicalPosition<f64>>,
    remote: Remote,
    news: Receiver<News>,
    folder: PathBuf,
    clock: LocalClock,
    started: Instant,
    leaving: Option<Leave>,
    result: Result<Option<&'static str>, Failure>,
}

struct Shown {
    window: Rc<Window>,
    surface: Surface<OwnedDisplayHandle, Rc<Window>>,
    title: String,
    /// Lines of status that room is kept for, in a window of this size, until then.
    room: (usize, PhysicalSize<u32>, Duration),
}

impl ApplicationHandler for App {
    fn resumed(&mut self, event_loop: &ActiveEventLoop) {
        if self.shown.is_some() {
            return;
        }
        match self.open(event_loop) {
            Ok(shown) => self.shown = Some(shown),
            Err(failure) => {
                self.result = Err(failure);
                event_loop.exit();
            }
        }
    }

    fn new_events(&mut self, _: &ActiveEventLoop, cause: StartCause) {
        if matches!(cause, StartCause::ResumeTimeReached { .. }) {
            self.redraw();
        }
    }

    fn user_event(&mut self, event_loop: &ActiveEventLoop, (): ()) {
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Event(event) => self.ui.take(event, self.started.elapsed()),
                News::Ended(ended) => {
                    self.result = match ended {
                        Ok(Ended::Left { told: false }) if self.leaving == Some(Leave::Stop) => {
                            Ok(Some("there was no connection: the server was not told to stop"))
                        }
                        Ok(_) => Ok(None),
                        Err(error) => Err(Failure::Failed(error.to_string())),
                    };
                    event_loop.exit();
                }
            }
        }
        self.redraw();
    }

    fn window_event(&mut self, event_loop: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        match event {
            // Whoever asks twice does not want to wait for the server.
            WindowEvent::CloseRequested if self.leaving.is_some() => event_loop.exit(),
            WindowEvent::CloseRequested => self.leave(Leave::Goodbye),
            WindowEvent::RedrawRequested => {
                if let Err(why) = self.draw() {
                    self.result = Err(Failure::Failed(why));
                    event_loop.exit();
                }
            }
            WindowEvent::CursorMoved { position, .. } => {
                self.pointer = Some(position);
                self.redraw();
            }
            WindowEvent::CursorLeft { .. } => {
                self.pointer = None;
                self.redraw();
            }
            WindowEvent::KeyboardInput { event, .. } if event.state == ElementState::Pressed => {
                // A key that is held down is one key.
                if let Some(key) = key(&event).filter(|_| !event.repeat)
                    && let Some(action) = self.ui.key(key)
                {
                    self.act(action);
                }
            }
            WindowEvent::Resized(_) | WindowEvent::ScaleFactorChanged { .. } => self.redraw(),
            _ => {}
        }
    }

    fn about_to_wait(&mut self, event_loop: &ActiveEventLoop) {
        event_loop.set_control_flow(ControlFlow::WaitUntil(Instant::now() + REFRESH));
    }
}

impl App {
    fn open(&self, event_loop: &ActiveEventLoop) -> Result<Shown, Failure> {
        let title = self.ui.title();
        let attributes = Window::default_attributes()
            .with_title(&title)
            .with_window_icon(icon())
            // A Kinect's picture at one and a half, above four lines of text.
            .with_inner_size(LogicalSize::new(768.0, 736.0))
            .with_min_inner_size(LogicalSize::new(160.0, 120.0));
        // By this name X11 and Wayland find the desktop file, and in it the icon.
        let attributes = WindowAttributesExtX11::with_name(attributes, NAME, NAME);
        let attributes = WindowAttributesExtWayland::with_name(attributes, NAME, NAME);
        let window = Rc::new(event_loop.create_window(attributes).map_err(no_window)?);
        let surface = Surface::new(&self.context, window.clone()).map_err(no_window)?;
        let room = (0, PhysicalSize::default(), Duration::ZERO);
        Ok(Shown { window, surface, title, room })
    }

    fn redraw(&self) {
        if let Some(shown) = &self.shown {
            shown.window.request_redraw();
        }
    }

    fn draw(&mut self) -> Result<(), String> {
        let Some(shown) = &mut self.shown else { return Ok(()) };
        let title = self.ui.title();
        if title != shown.title {
            shown.window.set_title(&title);
            shown.title = title;
        }
        let size = shown.window.inner_size();
        let (Some(width), Some(height)) = (NonZeroU32::new(size.width), NonZeroU32::new(size.height)) else {
            return Ok(());
        };
        let now = self.started.elapsed();
        let (room, of, until) = shown.room;
        let room = if of == size && now < until { room } else { 0 };
        let factor = shown.window.scale_factor();
        let layout = |ui: &Ui| Layout::new(ui, now, size.width as usize, size.height as usize, factor, room);
        // Where the picture is decides what is under the pointer, and that is written below it.
        let place = layout(&self.ui).picture;
        self.ui.point(self.pointer.zip(place).and_then(|(at, place)| place.pixel(at.x, at.y)));
        let layout = layout(&self.ui);
        if layout.lines.len() >= room {
            shown.room = (layout.lines.len(), size, now + KEEP_ROOM);
        }
        shown.surface.resize(width, height).map_err(|error| error.to_string())?;
        let mut buffer = shown.surface.buffer_mut().map_err(|error| error.to_string())?;
        layout.draw(&self.ui, &mut buffer);
        shown.window.pre_present_notify();
        buffer.present().map_err(|error| error.to_string())
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Redraw => {}
            Action::Leave => self.leave(Leave::Goodbye),
            Action::Stop => self.leave(Leave::Stop),
            Action::Save => {
                let said = self.save();
                self.ui.note(said, self.started.elapsed());
            }
            Action::FullScreen | Action::Smaller => {
                if let Some(shown) = &self.shown {
                    let full = action == Action::FullScreen && shown.window.fullscreen().is_none();
                    shown.window.set_fullscreen(full.then_some(Fullscreen::Borderless(None)));
                }
            }
        }
        self.redraw();
    }

    /// Says goodbye; the window closes when that has left, or soon after.
    fn leave(&mut self, how: Leave) {
        self.leaving = Some(how);
        self.ui.leaving();
        self.remote.tell(how);
        self.redraw();
    }

    /// Saves what is shown, and says where.
    fn save(&self) -> String {
        let Some(frame) = self.ui.frame() else { return "there is nothing to save yet".into() };
        let stem = save::stem(frame.text.get("Name").unwrap_or_default(), SystemTime::now(), &self.clock);
        let saved = save::write(&self.folder, &format!("{stem}.png"), &save::png(frame)).and_then(|path| {
            let Some(depth) = self.ui.depth() else { return Ok(format!("saved {}", path.display())) };
            let depth = save::write(&self.folder, &format!("{stem}-depth.png"), &save::png16(depth))?;
            let name = depth.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(format!("saved {} and {name}", path.display()))
        });
        saved.unwrap_or_else(|error| format!("not saved: {error}"))
    }
}

/// What a key means. Where letters are not Latin ones, it is the place on the keyboard that counts.
fn key(event: &KeyEvent) -> Option<Key> {
    let place = || match event.physical_key {
        PhysicalKey::Code(KeyCode::KeyF) => Some('f'),
        PhysicalKey::Code(KeyCode::KeyN) => Some('n'),
        PhysicalKey::Code(KeyCode::KeyQ) => Some('q'),
        PhysicalKey::Code(KeyCode::KeyS) => Some('s'),
        PhysicalKey::Code(KeyCode::KeyX) => Some('x'),
        PhysicalKey::Code(KeyCode::KeyY) => Some('y'),
        _ => None,
    };
    match event.logical_key.as_ref() {
        WinitKey::Named(NamedKey::Escape) => Some(Key::Escape),
        WinitKey::Named(NamedKey::Space) => Some(Key::Char(' ')),
        WinitKey::Named(NamedKey::F1) => Some(Key::Char('?')),
        WinitKey::Named(NamedKey::F11) => Some(Key::Char('f')),
        WinitKey::Character(text) => text.chars().next().filter(char::is_ascii).or_else(place).map(Key::Char),
        _ => None,
    }
}

/// The name of the desktop file.
const NAME: &str = "depthcast-view";

/// A lens before the colours of depth, as in deploy/depthcast-view.svg.
fn icon() -> Option<Icon> {
    const SIDE: usize = 64;
    let mut rgba = Vec::with_capacity(4 * SIDE * SIDE);
    for (y, x) in (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (y, x))) {
        let from_middle = (2 * x + 1).abs_diff(SIDE).pow(2) + (2 * y + 1).abs_diff(SIDE).pow(2);
        let index = 255 - 255 * y / (SIDE - 1);
        rgba.extend_from_slice(match from_middle.isqrt() / 2 {
            0..5 | 11..17 => &[0x18, 0x1b, 0x20],
            5..11 => &[0xd8, 0xde, 0xe6],
            _ => &JET[3 * index..][..3],
        });
        rgba.push(255);
    }
    Icon::from_rgba(rgba, SIDE as u32, SIDE as u32).ok()
}
