// The page of one run: what the controls choose, which images follow from it, and the list of them.

const BATCH = 48;
const byId = id => document.getElementById(id);
const state = { order: "worst", cls: null, pair: null, query: "", list: [], shown: 0, current: null };
document.documentElement.classList.add("scripted");
document.querySelectorAll("table.sortable").forEach(sortable);

const mode = () => document.querySelector("#matrix-mode input:checked").value;
const drawChart = place => place.id === "matrix" ? drawMatrix(place, mode(), choosePair) : drawPanel(place);
charts(drawChart);

if (byId("images")) {
  const viewer = new Viewer();
  const opacity = () => Number(byId("opacity").value) / 100;
  const chosen = () => ({ cls: state.cls, pair: state.pair });

  /** Return the figure that images are ordered by, or null: IoU of the chosen class, else the mean. */
  const figure = image => {
    if (state.cls == null) return image.mean;
    const found = image.iou.find(([cls]) => cls === state.cls);
    return found ? found[1] : null;
  };
  const pixels = image => {
    const found = image.pairs.find(([t, p]) => t === state.pair[0] && p === state.pair[1]);
    return found ? found[2] : 0;
  };

  const listed = () => {
    const query = state.query.toLowerCase();
    let rows = data.images.map((image, index) => ({ index, image, value: figure(image) }));
    if (query) rows = rows.filter(({ image }) => image.id.toLowerCase().includes(query));
    const byName = (a, b) => a.image.id.localeCompare(b.image.id, undefined, { numeric: true }) || a.index - b.index;
    if (state.pair) {
      return rows.map(row => ({ ...row, pixels: pixels(row.image) })).filter(row => row.pixels).sort((a, b) => b.pixels - a.pixels || byName(a, b));
    }
    // a background that does not count has no IoU, but images
    const has = ({ image }) => image.pairs.some(pair => pair[0] === state.cls || pair[1] === state.cls);
    if (state.cls != null) rows = rows.filter(row => row.value != null || has(row));
    if (state.order === "name") return rows.sort(byName);
    const known = rows.filter(row => row.value != null).sort((a, b) => a.value - b.value || byName(a, b));
    const unknown = rows.filter(row => row.value == null).sort(byName);
    if (state.order === "best") known.reverse();
    if (state.order === "median" && known.length) {
      const middle = (known.length - 1) / 2, place = new Map(known.map((row, position) => [row, Math.abs(position - middle)]));
      known.sort((a, b) => place.get(a) - place.get(b));
    }
    return [...known, ...unknown];
  };

  const tileSeen = new IntersectionObserver(entries => entries.forEach(({ isIntersecting, target }) => {
    if (isIntersecting) paintTile(target);
    else { target.width = target.height = 1; target.wanted = false; }  // a thousand painted canvases would fill a phone
  }), { rootMargin: "300px" });

  window.addEventListener("beforeprint", () => document.querySelectorAll(".tile canvas").forEach(paintTile));

  async function paintTile(canvas) {
    canvas.wanted = true;
    const found = await pictures("p" + canvas.dataset.index).catch(() => null);
    if (found && canvas.wanted && canvas.isConnected) paintLayer(canvas, found, "prediction", chosen(), .55, 190);
  }

  const label = row => row.pixels ? `${row.pixels.toLocaleString("en")} pixels` : `IoU ${three(row.value)}`;

  function tile(row) {
    const item = document.createElement("li"), button = document.createElement("button"), canvas = document.createElement("canvas");
    const name = document.createElement("span"), value = document.createElement("b");
    button.type = "button";
    button.className = "tile";
    button.dataset.index = canvas.dataset.index = row.index;
    button.setAttribute("aria-label", `${row.image.id}, ${label(row)}`);
    name.className = "name";
    name.textContent = name.title = row.image.id;
    value.textContent = label(row);
    canvas.width = canvas.height = 1;
    button.append(canvas, value, name);
    button.addEventListener("click", () => { show(row.index); byId("viewer").scrollIntoView({ block: "nearest" }); });
    item.append(button);
    tileSeen.observe(canvas);
    return item;
  }

  function more() {
    const rows = state.list.slice(state.shown, state.shown + BATCH);
    byId("tiles").append(...rows.map(tile));
    state.shown += rows.length;
    byId("more").hidden = state.shown >= state.list.length;
    mark();
  }

  const mark = () => document.querySelectorAll(".tile").forEach(button =>
    button.setAttribute("aria-current", String(Number(button.dataset.index) === state.current)));

  /** Show the list that the controls ask for, from its beginning, and its first image. */
  function apply() {
    state.list = listed();
    state.shown = 0;
    tileSeen.disconnect();
    byId("tiles").replaceChildren();
    const clear = byId("pair-clear");
    clear.hidden = !state.pair;
    if (state.pair) clear.textContent = `${data.names[state.pair[0]]} → ${data.names[state.pair[1]]} ✕`;
    clear.setAttribute("aria-label", "Show all images again");
    byId("order").hidden = Boolean(state.pair);
    const total = data.images.length.toLocaleString("en"), count = state.list.length.toLocaleString("en");
    byId("count").textContent = state.list.length === data.images.length ? `${total} images` : `${count} of ${total} images`;
    byId("viewer").hidden = !state.list.length;
    more();
    if (state.list.length) show(state.list[0].index);
  }

  function show(index) {
    state.current = index;
    const image = data.images[index], position = state.list.findIndex(row => row.index === index);
    byId("image-name").textContent = image.id;
    byId("image-facts").textContent = `${image.size[1]} × ${image.size[0]} pixels · mean IoU ${three(image.mean)} · ${position + 1} of ${state.list.length.toLocaleString("en")}`;
    byId("previous").disabled = position <= 0;
    byId("next").disabled = position < 0 || position >= state.list.length - 1;
    const rows = [...image.iou].sort((a, b) => a[1] - b[1]).slice(0, 14).map(([cls, value]) => {
      const row = document.createElement("tr"), name = row.insertCell(), number = row.insertCell(), swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = data.colors[cls];
      name.append(swatch, data.names[cls]);
      number.className = "number";
      number.textContent = three(value);
      return row;
    });
    byId("image-classes").tBodies[0].replaceChildren(...rows);
    viewer.show(index, chosen(), opacity());
    mark();
  }

  const step = by => {
    const position = state.list.findIndex(row => row.index === state.current) + by;
    if (position < 0 || position >= state.list.length) return;
    while (position >= state.shown) more();
    show(state.list[position].index);
  };

  /** Go to the images, the focus with the eye: what was clicked may be far above, or gone. */
  const goToImages = () => {
    byId("images").scrollIntoView();
    byId("images-heading").focus({ preventScroll: true });
  };

  /** Forget the search: what is clicked elsewhere is shown whole. */
  const unsearched = () => { state.query = byId("search").value = ""; };

  window.choosePair = (truth, prediction) => {
    unsearched();
    Object.assign(state, { pair: [truth, prediction], cls: null });
    byId("class-filter").value = "";
    apply();
    goToImages();
  };
  const chooseClass = cls => {
    Object.assign(state, { cls, pair: null });
    byId("class-filter").value = cls == null ? "" : String(cls);
    apply();
  };

  byId("order").addEventListener("change", event => { state.order = event.target.value; apply(); });
  byId("class-filter").addEventListener("change", event => chooseClass(event.target.value === "" ? null : Number(event.target.value)));
  byId("search").addEventListener("input", event => { state.query = event.target.value.trim(); apply(); });
  byId("pair-clear").addEventListener("click", () => { state.pair = null; apply(); goToImages(); });
  byId("layers").addEventListener("change", event => { viewer.layers = event.target.value.split(","); show(state.current); });
  byId("opacity").addEventListener("input", () => show(state.current));
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("more").addEventListener("click", more);
  byId("matrix-mode").addEventListener("change", () => drawChart(byId("matrix")));
  byId("pair-form").addEventListener("submit", event => {
    event.preventDefault();
    choosePair(Number(byId("pair-truth").value), Number(byId("pair-prediction").value));
  });
  document.querySelectorAll("[data-pair]").forEach(button => button.addEventListener("click", () => choosePair(...button.dataset.pair.split(",").map(Number))));
  document.querySelectorAll("[data-class]").forEach(button => button.addEventListener("click", () => {
    unsearched();
    chooseClass(Number(button.dataset.class));
    goToImages();
  }));
  new IntersectionObserver(entries => { if (entries[0].isIntersecting && !byId("more").hidden) more(); }, { rootMargin: "600px" }).observe(byId("more"));
  apply();
}
