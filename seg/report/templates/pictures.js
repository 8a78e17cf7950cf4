// Pictures of the images: unpacked when wanted, painted with the classes' colours on a canvas.

const IGNORE = 255;
const channels = hex => [1, 3, 5].map(start => parseInt(hex.slice(start, start + 2), 16));
const colors = data.colors.map(channels);
const { hit, miss, falseAlarm, wrong, unscored } = Object.fromEntries(Object.entries(data.marks).map(([kind, hex]) => [kind, channels(hex)]));
const unpacked = new Map();

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return bytes;
}

/** Read a grey PNG whose rows are differences to the row above, as the record writes it: exact labels, not colours. */
async function labelsOf(base64) {
  const bytes = bytesOf(base64), view = new DataView(bytes.buffer), parts = [];
  const width = view.getUint32(16), height = view.getUint32(20);
  for (let at = 8; at < bytes.length;) {
    const length = view.getUint32(at), kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const rows = new Uint8Array(await new Response(stream).arrayBuffer()), labels = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const above = y ? labels[(y - 1) * width + x] : 0;
      labels[y * width + x] = rows[y * (width + 1) + 1 + x] + above;
    }
  }
  return { width, height, labels };
}

async function photo(base64) {
  const image = new Image();
  image.src = "data:image/jpeg;base64," + base64;
  await image.decode();
  return image;
}

/** Return a promise of the pictures of an image, or of null where the page holds none; the last ones used are kept. */
function pictures(id) {
  if (unpacked.has(id)) {
    const found = unpacked.get(id);
    unpacked.delete(id);
    unpacked.set(id, found);
    return found;
  }
  const element = document.getElementById(id);
  if (!element) return Promise.resolve(null);
  const [image, truth, ...others] = element.textContent.split("\n");
  const whole = Promise.all([photo(image), labelsOf(truth), labelsOf(others[0]), others[1] ? photo(others[1]) : null])
    .then(([image, truth, prediction, confidence]) => ({ image, truth, prediction, confidence }));
  unpacked.set(id, whole);
  if (unpacked.size > 60) unpacked.delete(unpacked.keys().next().value);
  return whole;
}

/** Paint labels over what is on a canvas: `paint(index)` returns [red, green, blue, alpha of 0..255] of a pixel, or null. */
function paintPixels(canvas, mask, paint) {
  const layer = new OffscreenCanvas(mask.width, mask.height), context = layer.getContext("2d");
  const pixels = context.createImageData(mask.width, mask.height);
  for (let index = 0; index < mask.labels.length; index++) {
    const color = paint(index);
    if (color) pixels.data.set(color, 4 * index);
  }
  context.putImageData(pixels, 0, 0);
  const target = canvas.getContext("2d");
  target.imageSmoothingEnabled = false;
  target.drawImage(layer, 0, 0, canvas.width, canvas.height);
}

/** Return what paints a mask in its classes' colours; the class or pair that is chosen stands out, others fade. */
function byClass(found, mask, chosen, opacity) {
  const alpha = Math.round(255 * opacity), veil = [24, 26, 30, 150];
  const table = colors.map(color => [...color, alpha]);
  const { cls, pair } = chosen;
  return index => {
    const label = mask.labels[index];
    if (pair) {
      const here = found.truth.labels[index] === pair[0] && found.prediction.labels[index] === pair[1];
      return here && label !== IGNORE ? [...colors[label], Math.max(alpha, 200)] : veil;
    }
    if (cls != null) return label === cls ? [...colors[cls], Math.max(alpha, 150)] : veil;
    return label === IGNORE ? null : table[label];
  };
}

/** Return what paints right and wrong pixels; of one class: hits, missed ones, false alarms. */
function byError(found, chosen) {
  const { cls, pair } = chosen;
  return index => {
    const truth = found.truth.labels[index], said = found.prediction.labels[index];
    if (truth === IGNORE) return [...unscored, 200];
    if (pair) return truth === pair[0] && said === pair[1] ? [...(truth === said ? hit : wrong), 230] : null;
    if (cls != null) {
      if (truth === cls && said === cls) return [...hit, 200];
      return truth === cls ? [...miss, 225] : said === cls ? [...falseAlarm, 225] : null;
    }
    return truth === said ? null : [...wrong, 215];
  };
}

/** Paint one of image, truth, prediction, errors, confidence on a canvas of at most `most` pixels a side. */
function paintLayer(canvas, found, kind, chosen, opacity, most = Infinity) {
  const scale = Math.min(1, most / Math.max(found.image.naturalWidth, found.image.naturalHeight));
  canvas.width = Math.max(1, Math.round(found.image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(found.image.naturalHeight * scale));
  const context = canvas.getContext("2d");
  context.filter = kind === "errors" ? "grayscale(1) brightness(.55)" : "none";
  context.drawImage(kind === "confidence" && found.confidence ? found.confidence : found.image, 0, 0, canvas.width, canvas.height);
  context.filter = "none";
  if (kind === "truth" || kind === "prediction") paintPixels(canvas, found[kind], byClass(found, found[kind], chosen, opacity));
  if (kind === "errors") paintPixels(canvas, found.truth, byError(found, chosen));
}
