//! `/state` and `/metrics`: what tells of every connection, so that it takes a look at all of them.

use super::answers::JSON;
use super::conn::Phase;
use super::world::{Stats, millis};
use super::{Entry, Server};
use crate::clock::Now;
use crate::metrics::exposition::{self, Connected, Process};
use crate::metrics::{self, Viewer};
use crate::proto::http::{self, Status};
use crate::service;

impl Server {
    /// Answers the connection at `place`, which asked for `stats`.
    pub(super) fn answer_stats(&mut self, place: usize, stats: Stats, now: Now) {
        let mut connected = Connected::default();
        for conn in self.entries.iter().filter_map(|e| e.conn.as_ref()) {
            connected.by_protocol[conn.protocol() as usize] += 1;
        }
        let viewers = self.entries.iter().filter_map(|e| e.conn.as_ref().filter(|c| c.is_viewer()));
        let viewers = viewers.map(|conn| {
            let watched = now.since(conn.opened).as_secs_f64();
            Viewer {
                id: conn.id,
                protocol: conn.protocol().name(),
                sent: conn.sent,
                skipped: conn.skipped,
                options: conn.options(),
                age_ms: conn.shown.map(|(_, at)| millis(now.mono.saturating_sub(at))),
                fps: if watched > 0.0 { conn.sent as f64 / watched } else { 0.0 },
            }
        });
        let world = &mut self.world;
        world.body.clear();
        let gone = world.feed.gone(now);
        // What was captured, also where the Python protocol still states the rate that is hoped for, or nobody asks any more.
        let before = if world.frame.is_some() { world.fps } else { 0.0 };
        let captured_fps = world.rate.mean(now.mono).unwrap_or(before);
        let state = metrics::State {
            instance: world.settings.instance,
            camera: world.renderer.camera(),
            source: world.feed.kind(),
            sensor: world.feed.word(now),
            reason: if let Some(error) = &gone { error } else { &"" },
            online: gone.is_none() && world.frame.is_some(),
            desired_fps: world.feed.fps(),
            captured_fps,
            seq: world.feed.seq(),
            age_ms: world.age_ms(now),
            min_mm: world.renderer.range().min_mm(),
            max_mm: world.renderer.range().max_mm(),
            uptime: now.since(world.started),
            reopened: world.feed.reopened(),
            report: world.feed.report(),
            viewers_max: world.settings.viewers_max,
            counters: &world.counters,
            jpeg_quality: world.renderer.jpeg().quality,
            made: world.renderer.made(),
        };
        // The buffer is as long as the documented bounds; were it not, the client would get what fitted.
        let (whole, content_type) = match stats {
            Stats::State => (metrics::write_state(&mut world.body, &state, viewers), JSON),
            Stats::Metrics => {
                let usage = service::usage();
                let process = Process {
                    cpu_s: usage.cpu.as_secs_f64(),
                    virtual_bytes: usage.virtual_bytes,
                    resident_bytes: usage.resident_bytes,
                    open_fds: usage.open_fds,
                    max_fds: usage.max_fds,
                    // Counted back from now: the clock may have been set since the start.
                    start_s: now.wall_us as f64 / 1e6 - now.since(world.started).as_secs_f64(),
                };
                let timings = &world.timings;
                let whole = exposition::write_metrics(&mut world.body, &state, timings, connected, process);
                (whole, exposition::CONTENT_TYPE)
            }
        };
        debug_assert!(whole.is_ok(), "state_bound or exposition::BOUND is too small");
        let Entry { conn: Some(conn), text, .. } = &mut self.entries[place] else {
            return;
        };
        if let Phase::Http(machine) = &conn.phase
            && let http::Next::Respond(request) = machine.next()
        {
            world.answer_body(conn, text, request, Status::Ok, content_type);
        }
    }
}
