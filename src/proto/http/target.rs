//! What a path and a query ask for.

use super::{FieldNames, Status};
use crate::proto::multipart::Options;
use crate::proto::query::{Name, Query};
use crate::proto::websocket::Accept;

/// What a client asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// The viewer page.
    Page,
    /// What belongs to it.
    PageScript,
    /// What belongs to it.
    PageStyle,
    /// What belongs to it, for browsers that run no script.
    PageNoScript,
    /// One frame after the other.
    Stream(Content, Options),
    /// The newest frame.
    Frame(Content),
    /// Depth and state over a WebSocket.
    WebSocket(Accept),
    /// What viewers need to know.
    Config,
    /// The answer to a page that asks what it may do, and whether it may send these fields.
    Options(FieldNames),
    /// What the server is doing.
    State,
    /// What is counted, for Prometheus.
    Metrics,
    /// Whether the process is up.
    Healthz,
    /// Whether a fresh frame exists.
    Readyz,
    /// Something that cannot be had.
    Refused(Status, &'static str),
}

/// What is sent of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content {
    /// A picture of depth in colours, which may be the placeholder.
    Picture(Image),
    /// An infrared picture, or the placeholder.
    Infrared(Image),
    /// Lossless depth, which there is none of without a sensor.
    Depth(Depth),
}

impl Content {
    /// The media type, without parameters: ffmpeg compares the whole value.
    pub fn media_type(self) -> &'static str {
        match self {
            Content::Picture(Image::Jpeg) | Content::Infrared(Image::Jpeg) => "image/jpeg",
            Content::Picture(Image::Png) | Content::Infrared(Image::Png) | Content::Depth(Depth::Png) => {
                "image/png"
            }
            // Neither has a registered one.
            Content::Depth(Depth::Rvl | Depth::Raw) => "application/octet-stream",
        }
    }
}

/// How lossless depth is packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Depth {
    /// 16-bit grey.
    Png,
    /// RVL in ROS' compressedDepth layout.
    Rvl,
    /// 424 rows of 512 little-endian numbers of 16 bits.
    Raw,
}

/// How a picture is packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Image {
    /// What every client takes.
    Jpeg,
    /// Lossless.
    Png,
}

impl Target {
    /// What a path and the query behind it ask for.
    pub(super) fn new(path: &str, query: &str) -> Self {
        let query = Query::new(query);
        let one = |content: Result<Content, Target>| content.map_or_else(|refused| refused, Target::Frame);
        let stream = |content: Result<Content, Target>| {
            let options = Options::new(&query).map_err(|why| Target::Refused(Status::BadRequest, why));
            let stream = content.and_then(|content| options.map(|options| Target::Stream(content, options)));
            stream.unwrap_or_else(|refused| refused)
        };
        match path {
            // mjpg-streamer's names for the same; its users add all kinds of keys behind them.
            "/" | "/index.html" => match query.value(Name::Action).map(|action| action.text()) {
                None => Target::Page,
                Some(Some(action)) if action == "stream" || action.starts_with("stream_") => {
                    stream(picture(&query))
                }
                Some(Some(action)) if action == "snapshot" || action.starts_with("snapshot_") => {
                    one(picture(&query))
                }
                Some(_) => Target::Refused(Status::NotFound, "the only actions are stream and snapshot"),
            },
            "/page.js" => Target::PageScript,
            "/page.css" => Target::PageStyle,
            "/noscript.css" => Target::PageNoScript,
            "/stream" => stream(picture(&query)),
            "/snapshot" => one(picture(&query)),
            "/snapshot.jpg" => one(shown(&query, Image::Jpeg)),
            "/snapshot.png" => one(shown(&query, Image::Png)),
            "/ir.png" => Target::Frame(Content::Infrared(Image::Png)),
            "/depth/stream" => stream(depth(&query)),
            "/depth.png" => Target::Frame(Content::Depth(Depth::Png)),
            "/depth.rvl" => Target::Frame(Content::Depth(Depth::Rvl)),
            "/depth.raw" => Target::Frame(Content::Depth(Depth::Raw)),
            "/config.json" => Target::Config,
            "/state" => Target::State,
            "/metrics" => Target::Metrics,
            "/healthz" => Target::Healthz,
            "/readyz" => Target::Readyz,
            _ => Target::Refused(Status::NotFound, NO_SUCH_PAGE),
        }
    }
}

/// The picture that a query asks for.
fn picture(query: &Query) -> Result<Content, Target> {
    match query.word(Name::Format) {
        None => shown(query, Image::Jpeg),
        Some(format) if format.is("jpeg") || format.is("jpg") => shown(query, Image::Jpeg),
        Some(format) if format.is("png") => shown(query, Image::Png),
        Some(_) => Err(Target::Refused(Status::BadRequest, "the formats are jpeg and png")),
    }
}

/// What is to be seen in it.
fn shown(query: &Query, image: Image) -> Result<Content, Target> {
    match query.word(Name::View) {
        None => Ok(Content::Picture(image)),
        Some(view) if view.is("depth") => Ok(Content::Picture(image)),
        Some(view) if view.is("ir") => Ok(Content::Infrared(image)),
        Some(_) => Err(Target::Refused(Status::BadRequest, "the views are depth and ir")),
    }
}

/// The depth that a query asks for.
fn depth(query: &Query) -> Result<Content, Target> {
    match query.word(Name::Format) {
        None => Ok(Content::Depth(Depth::Png)),
        Some(format) if format.is("png") => Ok(Content::Depth(Depth::Png)),
        Some(format) if format.is("rvl") => Ok(Content::Depth(Depth::Rvl)),
        Some(format) if format.is("raw") => Ok(Content::Depth(Depth::Raw)),
        Some(_) => Err(Target::Refused(Status::BadRequest, "the formats are png, rvl and raw")),
    }
}

const NO_SUCH_PAGE: &str = "there is no such page; see / /stream /snapshot /depth.png /depth.rvl /depth.raw /depth/stream \
/ir.png /ws /config.json /state /metrics /healthz /readyz";
