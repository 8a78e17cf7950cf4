// The large picture: two layers of one image and a border between them that pointer, finger and keys move.

const LAYER_NAMES = { image: "image", truth: "truth", prediction: "prediction", errors: "errors", confidence: "confidence" };

class Viewer {
  constructor() {
    this.stage = document.getElementById("stage");
    this.slider = document.getElementById("slider");
    this.left = document.getElementById("left");
    this.right = document.getElementById("right");
    this.note = document.getElementById("stage-note");
    this.value = 50;
    this.layers = ["truth", "prediction"];
    this.request = 0;
    this.chosen = { cls: null, pair: null };
    this.stage.addEventListener("pointerdown", event => {
      this.stage.setPointerCapture(event.pointerId);
      this.slider.focus({ preventScroll: true });
      this.follow(event);
      event.preventDefault();
    });
    this.stage.addEventListener("pointermove", event => { if (this.stage.hasPointerCapture(event.pointerId)) this.follow(event); });
    this.slider.addEventListener("keydown", event => {
      const steps = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      this.moveTo(this.value + steps[event.key]);
    });
    this.moveTo(50);
  }

  follow(event) {
    const box = this.stage.getBoundingClientRect();
    this.moveTo(100 * (event.clientX - box.left) / box.width);
  }

  moveTo(value) {
    this.value = Math.min(100, Math.max(0, value));
    const rounded = Math.round(this.value);
    this.left.style.clipPath = `inset(0 ${100 - this.value}% 0 0)`;
    this.slider.style.left = this.value + "%";
    this.slider.setAttribute("aria-valuenow", rounded);
    const [left, right] = this.layers.map(name => LAYER_NAMES[name]);
    this.slider.setAttribute("aria-valuetext", `${rounded} % ${left}, ${100 - rounded} % ${right}`);
    const narrow = this.stage.clientWidth < 200;  // two labels would lie on each other
    document.getElementById("left-label").hidden = this.value < (narrow ? 50 : 12);
    document.getElementById("right-label").hidden = this.value > (narrow ? 49.99 : 88);
  }

  /** Show an image, row `index` of the data. */
  async show(index, chosen, opacity) {
    const request = ++this.request, image = data.images[index];
    this.chosen = chosen;
    const found = await pictures("p" + index).catch(() => null);
    if (request !== this.request) return;  // another image was asked for meanwhile
    const [left, right] = this.layers;
    this.stage.hidden = !found;
    this.note.textContent = found ? this.explain(found) : "This page holds no picture of this image.";
    if (!found) return;
    const aspect = found.image.naturalWidth / found.image.naturalHeight;
    this.stage.style.aspectRatio = String(aspect);
    this.stage.style.width = `min(100%, calc(72vh * ${aspect}))`;
    const tiny = Math.max(found.image.naturalWidth, found.image.naturalHeight) < 128;
    for (const [canvas, kind] of [[this.left, left], [this.right, right]]) {
      canvas.style.imageRendering = tiny ? "pixelated" : "auto";
      paintLayer(canvas, found, kind, chosen, opacity);
      canvas.setAttribute("aria-label", `${LAYER_NAMES[kind]} of ${image.id}`);
    }
    document.getElementById("left-label").textContent = LAYER_NAMES[left];
    document.getElementById("right-label").textContent = LAYER_NAMES[right];
    this.moveTo(this.value);
  }

  explain(found) {
    const { cls, pair } = this.chosen, errors = this.layers.includes("errors");
    if (this.layers.includes("confidence")) return found.confidence ? "Confidence: white is certain, black a guess." : "No confidence was recorded for this image.";
    if (pair) return `Only the pixels of ${data.names[pair[0]]} that were ${pair[0] === pair[1] ? "found" : `taken for ${data.names[pair[1]]}`} are coloured.`;
    if (cls != null) return errors ? `${data.names[cls]}: blue is found, magenta is missed, amber is no ${data.names[cls]}.` : `Only ${data.names[cls]} is coloured.`;
    return errors ? "Red is wrong, blue grey is not scored." : "";
  }
}
