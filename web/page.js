'use strict';

// The page draws depth itself: /ws brings each frame as RVL, here it becomes millimetres, and colours of the server's own
// table. Times are milliseconds of performance.now(). The server's clock is never compared with ours: it states the age of
// each frame, and from its arrival on we count ourselves.

const SILENCE = 3000;             // no frame for so long although the camera has some: connect again
const LATE = 1500;                // a frame older than this is not live
const BACKOFF = [500, 5000];      // first and longest wait before connecting again
const STATE_EVERY = 2000;
const HEAD = 32, RVL_HEAD = 20;   // bytes in front of the frame, and in front of its words
const PIXELS_MAX = 1 << 22;

// The server's palette, 256 times R, G, B in Base64: OpenCV's COLORMAP_JET. A test holds it to the server's.
const JET = Uint8Array.from(atob(
  'AACAAACEAACIAACMAACQAACUAACYAACcAACgAACkAACoAACsAACwAAC0AAC4AAC8AADAAADEAADIAADMAADQAADUAADYAADcAADgAADkAADoAA' +
  'DsAADwAAD0AAD4AAD8AAD/AAT/AAj/AAz/ABD/ABT/ABj/ABz/ACD/ACT/ACj/ACz/ADD/ADT/ADj/ADz/AED/AET/AEj/AEz/AFD/AFT/AFj/' +
  'AFz/AGD/AGT/AGj/AGz/AHD/AHT/AHj/AHz/AID/AIT/AIj/AIz/AJD/AJT/AJj/AJz/AKD/AKT/AKj/AKz/ALD/ALT/ALj/ALz/AMD/AMT/AM' +
  'j/AMz/AND/ANT/ANj/ANz/AOD/AOT/AOj/AOz/APD/APT/APj/APz/Av/+Bv/6Cv/2Dv/yEv/uFv/qGv/mHv/iIv/eJv/aKv/WLv/SMv/ONv/K' +
  'Ov/GPv/CQv++Rv+6Sv+2Tv+yUv+uVv+qWv+mXv+iYv+eZv+aav+Wbv+Scv+Odv+Kev+Gfv+Cgv9+hv96iv92jv9ykv9ulv9qmv9mnv9iov9epv' +
  '9aqv9Wrv9Ssv9Otv9Kuv9Gvv9Cwv8+xv86yv82zv8y0v8u1v8q2v8m3v8i4v8e5v8a6v8W7v8S8v8O9v8K+v8G/v8B//wA//gA//QA//AA/+wA' +
  '/+gA/+QA/+AA/9wA/9gA/9QA/9AA/8wA/8gA/8QA/8AA/7wA/7gA/7QA/7AA/6wA/6gA/6QA/6AA/5wA/5gA/5QA/5AA/4wA/4gA/4QA/4AA/3' +
  'wA/3gA/3QA/3AA/2wA/2gA/2QA/2AA/1wA/1gA/1QA/1AA/0wA/0gA/0QA/0AA/zwA/zgA/zQA/zAA/ywA/ygA/yQA/yAA/xwA/xgA/xQA/xAA' +
  '/wwA/wgA/wQA/wAA/AAA+AAA9AAA8AAA7AAA6AAA5AAA4AAA3AAA2AAA1AAA0AAAzAAAyAAAxAAAwAAAvAAAuAAAtAAAsAAArAAAqAAApAAAoA' +
  'AAnAAAmAAAlAAAkAAAjAAAiAAAhAAAgAAA'), c => c.charCodeAt(0));

const $ = id => document.getElementById(id);
const show = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };
const canvas = $('canvas'), context = canvas.getContext('2d', { alpha: false });
const mail = new MessageChannel();

let socket = null;                // the open WebSocket, or the one being opened
let opened = false;               // whether it is open
let ever = false;                 // whether one ever was
let retry = 0, wait = BACKOFF[0]; // timer, and the next wait
let trouble = '';                 // why the last connection ended
let heard = 0;                    // when a frame last came on this connection, or when it was begun
let pending = null;               // the newest message not yet drawn: { data, at }
let depth = new Uint16Array(0);   // millimetres of the frame shown
let image = null, pixels = null;  // its colours
let shown = null;                 // the frame shown: { seq, age, at, width, height }
let last = 0;                     // the newest sequence number on this connection
let drops = 0;                    // frames of this connection that were not drawn
let arrivals = [];                // when the last frames came
let state = null, asked = 0;      // the server's own account; when it last came
let range = null, own = false;    // the ends of the palette in mm, and whether they are the viewer's choice
let colours = null;               // colour of each depth
let point = null;                 // where to measure, in pixels of the picture
let infrared = false;             // whether infrared is shown over the colours

// --- RVL ---------------------------------------------------------------------------------------------------------------

// Decodes an RVL image in compressedDepth layout into `out(width, height)`, an array of that many 16-bit pixels.
// A run of zeros, a run of differences, and again; numbers are nibbles of three bits, the fourth says that more follow.
function decodeRvl(buffer, offset, length, out) {
  const view = new DataView(buffer, offset, length);
  if (length < RVL_HEAD || view.getFloat32(4, true) !== 0) throw new Error('not lossless depth');
  const width = view.getUint32(12, true), height = view.getUint32(16, true), size = width * height;
  if (!(size > 0 && size <= PIXELS_MAX)) throw new Error('a frame of no or too many pixels');
  const words = new Uint32Array(buffer, offset + RVL_HEAD, (length - RVL_HEAD) >> 2);
  const pixels = out(width, height);
  let at = 0, word = 0, left = 0, value = 0, i = 0;
  const number = () => {
    let n = 0, shift = 0, nibble;
    do {
      if (left === 0) {
        word = words[at++];       // undefined behind the end, which acts as zero
        left = 8;
      }
      nibble = word >>> 28;
      word <<= 4;
      left -= 1;
      n |= (nibble & 7) << shift;
      shift += 3;
    } while (nibble & 8);
    return n;
  };
  while (i < size) {
    const zeros = number();
    pixels.fill(0, i, i + zeros);
    i += zeros;
    const run = number();
    if (zeros + run <= 0 || i + run > size || at > words.length) throw new Error('a damaged frame');
    for (const end = i + run; i < end; i += 1) {
      const n = number();
      value += (n >>> 1) ^ -(n & 1);
      pixels[i] = value;
    }
  }
  if (at > words.length) throw new Error('a frame that is cut off');
}

// --- Colours -----------------------------------------------------------------------------------------------------------

// The server's rule: rint(f32(255 / (max - min)) * f32(mm - min)) in single precision, ties to even, clamped.
function paletteIndex(mm, near, far) {
  const exact = Math.fround(Math.fround(255 / (far - near)) * (mm - near));
  const floor = Math.floor(exact), rest = exact - floor;
  const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
  return Math.min(255, Math.max(0, rounded));
}

// A colour for each depth, as canvas memory has it. Where nothing came back there is no colour.
function colourTable(near, far) {
  const bytes = new Uint8Array(4 * 65536);
  for (let mm = 0; mm < 65536; mm += 1) {
    const i = 3 * paletteIndex(mm, near, far);
    bytes.set(mm === 0 ? [0, 0, 0, 255] : [JET[i], JET[i + 1], JET[i + 2], 255], 4 * mm);
  }
  return new Uint32Array(bytes.buffer);
}

function setRange(near, far, chosen) {
  if (range && range.near === near && range.far === far && own === chosen) return;
  range = { near, far };
  own = chosen;
  colours = colourTable(near, far);
  $('near').max = $('far').max = Math.max(8000, far);
  $('near').value = near;
  $('far').value = far;
  const metres = mm => `${(mm / 1000).toFixed(2)} m`;
  show('near-text', metres(near));
  show('far-text', metres(far));
  $('near').setAttribute('aria-valuetext', metres(near));
  $('far').setAttribute('aria-valuetext', metres(far));
  $('reset').disabled = !own;
  const top = Number($('far').max), at = share => `${(100 * (near + share * (far - near))) / top}%`;
  $('bar').style.backgroundImage = `linear-gradient(to right, #000080 ${at(0)}, #00f ${at(0.125)}, #0ff ${at(0.375)}, ` +
    `#ff0 ${at(0.625)}, #f00 ${at(0.875)}, #800000 ${at(1)})`;
  // The address keeps the choice, so that a screen on a wall has it again after a power cut.
  history.replaceState(null, '', chosen ? `#${near}-${far}` : location.pathname + location.search);
  paint();
}

function chooseRange(moved) {
  let near = Number($('near').value), far = Number($('far').value);
  const gap = 100;
  if (far - near < gap) {
    if (moved === 'near') near = far - gap;
    else far = near + gap;
    if (near < 0) [near, far] = [0, gap];
  }
  setRange(near, far, true);
}

// --- The connection ----------------------------------------------------------------------------------------------------

function connect() {
  clearTimeout(retry);
  if (socket || document.hidden) return;
  const url = new URL('ws', location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const mine = socket = new WebSocket(url);
  mine.binaryType = 'arraybuffer';
  opened = false;
  heard = performance.now();
  last = drops = 0;
  mine.onopen = () => {
    if (mine !== socket) return;
    opened = ever = true;
    heard = performance.now();
    $('still').hidden = true;
    ask();
    tick();
  };
  mine.onmessage = ({ data }) => {
    if (mine !== socket) return;
    if (typeof data !== 'string') return receive(data);
    // What has changed is asked for as a whole: a state that is not understood cannot be shown wrongly.
    ask();
    try {
      $('infrared').hidden = JSON.parse(data).config.infrared !== true;
    } catch {
      $('infrared').hidden = true;
    }
  };
  mine.onclose = ({ code, reason }) => {
    if (mine !== socket) return;
    retryLater(reason || (opened ? 'the camera closed the connection' : 'no connection to the camera') +
      (code === 1006 || code === 1005 ? '' : ` (${code})`));
    tick();
  };
}

function disconnect() {
  clearTimeout(retry);
  const old = socket;
  socket = pending = null;
  opened = false;
  arrivals = [];
  old?.close();
}

function retryLater(why) {
  disconnect();
  trouble = why;
  // Many screens that lost the same camera do not come back in the same instant.
  retry = setTimeout(connect, wait * (0.75 + Math.random() / 2));
  wait = Math.min(2 * wait, BACKOFF[1]);
}

// Of the frames that are here at once only the newest is drawn: the task that draws stands behind them in line.
function receive(data) {
  const at = performance.now();
  const view = new DataView(data);
  if (data.byteLength < HEAD || view.getUint32(0) !== 0x44504331 || view.getUint16(4, true) !== 1) {
    return retryLater('the camera speaks another version; reload the page');
  }
  const seq = Number(view.getBigUint64(8, true));
  if (last && seq > last + 1) drops += seq - last - 1;
  last = seq;
  heard = at;
  wait = BACKOFF[0];
  trouble = '';
  arrivals.push(at);
  if (pending) drops += 1;
  else mail.port2.postMessage(0);
  pending = { data, at, seq, age: view.getUint32(24, true), length: view.getUint32(28, true) };
}

mail.port1.onmessage = () => {
  if (!pending) return;
  const { data, at, seq, age, length } = pending;
  pending = null;
  let size = null;
  try {
    decodeRvl(data, HEAD, Math.min(length, data.byteLength - HEAD), (width, height) => {
      size = { width, height };
      if (depth.length !== width * height) depth = new Uint16Array(width * height);
      return depth;
    });
  } catch (error) {
    drops += 1;
    return retryLater(`bad stream: ${error.message}`);
  }
  const before = shown;
  shown = { seq, age, at, ...size };
  paint();
  if (!before || before.seq + 1 !== seq) tick();
  // For whoever wants to follow along, such as a test.
  canvas.dispatchEvent(new CustomEvent('drawn', { detail: { seq, drops, depth, image, ...size } }));
};

// Colours the depth that is there, and measures anew.
function paint() {
  if (!shown || !colours) return;
  const { width, height } = shown;
  if (!image || image.width !== width || image.height !== height) {
    canvas.width = width;
    canvas.height = height;
    $('frame').style.aspectRatio = `${width} / ${height}`;
    image = context.createImageData(width, height);
    pixels = new Uint32Array(image.data.buffer);
  }
  for (let i = 0; i < pixels.length; i += 1) pixels[i] = colours[depth[i]];
  context.putImageData(image, 0, 0);
  measure();
}

// --- What the page says ------------------------------------------------------------------------------------------------

function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 7200000 ? `${Math.round(ms / 60000)} min` : `${Math.round(ms / 3600000)} h`;
}

// Infrared comes as pictures, laid over the depth that goes on being measured; with each connection they begin anew.
function showInfrared() {
  const on = infrared && opened && !document.hidden && !$('infrared').hidden;
  $('infrared').setAttribute('aria-pressed', infrared);
  if (on !== $('ir').hidden) return;
  $('ir').hidden = !on;
  if (on) $('ir').src = 'stream?view=ir&advance_headers=1';
  else $('ir').removeAttribute('src');
}

// Brings the words up to date; also runs when nothing arrives.
function tick() {
  const now = performance.now();
  // What has come since outdoes what the server said before.
  const online = state?.source?.online !== false || arrivals[arrivals.length - 1] > asked;
  // The server sends nothing while it has nothing: only silence that it does not explain is a fault.
  if (socket && now - heard > SILENCE && (!opened || online)) retryLater('nothing came for 3 s');
  const old = shown ? shown.age + now - shown.at : 0;
  let link = 'lost', word = 'RECONNECTING', reason = trouble;
  if (document.hidden) [link, word, reason] = ['paused', 'PAUSED', ''];
  else if (opened && !online) [link, word, reason] = ['nosignal', 'NO SIGNAL', String(state.sensor?.reason || '')];
  else if (opened && shown && last && old <= LATE) [link, word, reason] = ['live', 'LIVE', ''];
  else if (opened && shown && last) [link, word, reason] = ['stale', 'STALE', 'the connection is too slow, or nothing comes'];
  else if (opened) [link, word, reason] = ['connecting', 'WAITING', 'for the first frame'];
  else if (!trouble) [link, word, reason] = ['connecting', 'CONNECTING', 'looking for the camera'];
  if (!$('still').hidden) [link, word] = ['still', 'PICTURE ONLY'];
  document.documentElement.dataset.link = link;
  show('badge', word);
  show('word', word);
  show('reason', reason);
  show('since', shown ? `last depth ${duration(old)} ago` : '');
  show('age', shown ? duration(old) : '–');
  arrivals = arrivals.filter(at => now - at < 2000);
  const span = (arrivals[arrivals.length - 1] - arrivals[0]) / 1000;
  const steady = link === 'live' && span > 0 && now - arrivals[arrivals.length - 1] < LATE;
  show('rate', steady ? `${((arrivals.length - 1) / span).toFixed(1)} fps` : '0 fps');
  show('drops', String(drops));
  show('seq', shown ? `frame ${shown.seq}` : 'no frame');
  const camera = state?.camera, name = String(camera?.name || 'depthcast');
  show('name', name);
  show('place', String(camera?.location || 'depth camera'));
  const clients = state?.stream?.clients;
  show('viewers', Number.isInteger(clients) ? `${clients} watching` : '');
  showInfrared();
  const title = link === 'live' ? name : `${word} – ${name}`;
  if (document.title !== title) document.title = title;
}

// Asks the server for its own account: who it is, its range, and why there is no depth if there is none.
let asking = null, again = false;
async function ask() {
  if (asking) {
    again = true;
    return;
  }
  asking = new AbortController();
  const timeout = setTimeout(() => asking?.abort(), SILENCE);
  try {
    // Not relative: where the page was opened as http://user:token@camera/, that would have the token in it and be refused.
    const answer = await fetch(new URL('state', location.href), { cache: 'no-store', signal: asking.signal });
    const json = await answer.json();
    if (json.ok) state = json.result;
    asked = performance.now();
    const { min_mm: near, max_mm: far } = state?.depth || {};
    if (!own && far > near) setRange(near, far, false);
    // A proxy that passes no WebSocket leaves the picture at least.
    if (!ever && trouble && $('still').hidden && !document.hidden) {
      point = null;
      $('still').src = 'stream?advance_headers=1';
      $('still').hidden = false;
    }
  } catch {
    // The connection may not have noticed yet that nobody is at its other end.
    if (opened && performance.now() - asked > 3 * SILENCE) retryLater('the camera does not answer');
    if (!$('still').hidden) {
      $('still').hidden = true;
      $('still').removeAttribute('src');
    }
  } finally {
    clearTimeout(timeout);
    asking = null;
  }
  tick();
  if (again) {
    again = false;
    ask();
  }
}

// --- Measuring ---------------------------------------------------------------------------------------------------------

function measure() {
  const visible = Boolean(point && shown);
  $('cross').hidden = $('distance').hidden = !visible;
  if (!visible) return;
  const { width, height } = shown;
  const x = point.x = Math.min(width - 1, Math.max(0, point.x)), y = point.y = Math.min(height - 1, Math.max(0, point.y));
  const mm = depth[y * width + x];
  show('distance', mm ? `${(mm / 1000).toFixed(3)} m` : 'no return');
  const left = (100 * (x + 0.5)) / width, top = (100 * (y + 0.5)) / height;
  Object.assign($('cross').style, { left: `${left}%`, top: `${top}%` });
  const style = $('distance').style;
  // Beside the point, on the side that has room.
  style.left = left < 70 ? `calc(${left}% + 1.1rem)` : 'auto';
  style.right = left < 70 ? 'auto' : `calc(${100 - left}% + 1.1rem)`;
  style.top = top < 80 ? `calc(${top}% + .7rem)` : 'auto';
  style.bottom = top < 80 ? 'auto' : `calc(${100 - top}% + .7rem)`;
}

function pointAt({ clientX, clientY }) {
  const box = canvas.getBoundingClientRect();
  point = {
    x: Math.floor(((clientX - box.left) * canvas.width) / box.width),
    y: Math.floor(((clientY - box.top) * canvas.height) / box.height),
  };
  measure();
}

canvas.addEventListener('pointermove', pointAt);
canvas.addEventListener('pointerdown', pointAt);
canvas.addEventListener('pointerleave', event => {
  // A finger that was lifted leaves its point; a mouse takes it along.
  if (event.pointerType === 'mouse') {
    point = null;
    measure();
  }
});
canvas.addEventListener('keydown', event => {
  const step = event.shiftKey ? 20 : 2;
  const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] || [0, 0];
  if (event.key === 'Escape') point = null;
  else if (dx || dy) point = point ? { x: point.x + dx, y: point.y + dy } : { x: canvas.width >> 1, y: canvas.height >> 1 };
  else return;
  event.preventDefault();
  measure();
});

// --- Begin -------------------------------------------------------------------------------------------------------------

$('near').addEventListener('input', () => chooseRange('near'));
$('far').addEventListener('input', () => chooseRange('far'));
$('reset').addEventListener('click', () => {
  const { min_mm: near, max_mm: far } = state?.depth || {};
  if (far > near) setRange(near, far, false);
});
$('infrared').addEventListener('click', () => {
  infrared = !infrared;
  tick();
});
$('full').addEventListener('click', () => {
  const turn = document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen?.();
  turn?.catch(() => {});
});
document.addEventListener('visibilitychange', () => {
  if (document.hidden) disconnect();
  else connect();
  tick();
});
addEventListener('online', connect);

const chosen = /^#(\d{1,5})-(\d{1,5})$/.exec(location.hash);
if (chosen && Number(chosen[2]) > Number(chosen[1]) && chosen[2] <= 65535) setRange(Number(chosen[1]), Number(chosen[2]), true);
else setRange(0, 4500, false);
setInterval(tick, 100);
setInterval(() => { if (!document.hidden) ask(); }, STATE_EVERY);
ask();
connect();
