// Curves and the confusion matrix, drawn by plotly in the page's own colours.

const data = JSON.parse(document.getElementById("data").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");

const variable = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// plotly reads tags and entities in its texts
const literal = text => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

const shortened = (text, most) => { const letters = Array.from(text); return letters.length > most ? letters.slice(0, most - 1).join("") + "…" : text; };

const escaped = (text, most = 40) => literal(shortened(text, most));

const percent = value => value == null ? "n/a" : value >= .001 || value === 0 ? (100 * value).toFixed(1) + " %" : (100 * value).toPrecision(2) + " %";

const three = value => value == null ? "n/a" : value.toFixed(3);

function axis(extra) {
  return { gridcolor: variable("--line"), zeroline: false, linecolor: variable("--line"), tickcolor: variable("--line"),
    automargin: true, tickfont: { size: 11 }, ...extra };
}

function layout(extra) {
  return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 44, r: 10, t: 10, b: 36 },
    font: { family: "system-ui, sans-serif", size: 12, color: variable("--soft") },
    hoverlabel: { bgcolor: variable("--card"), bordercolor: variable("--line"), font: { color: variable("--ink"), size: 12 }, align: "left" }, ...extra };
}

const CONFIG = { displaylogo: false, responsive: true, displayModeBar: false, doubleClick: "reset" };

/** Return the mean of the last values at each point, as far back as a fortieth of the curve. */
function runningMean(values) {
  const window = Math.max(2, Math.round(values.length / 40));
  let sum = 0;
  return values.map((value, index) => {
    sum += value - (index >= window ? values[index - window] : 0);
    return sum / Math.min(index + 1, window);
  });
}

/** Tell a loss that jumps from step to step from a smooth schedule, which a running mean would only bend. */
function noisy(values) {
  if (values.length < 60) return false;
  let jumps = 0, low = Infinity, high = -Infinity;
  values.forEach((value, index) => {
    low = Math.min(low, value); high = Math.max(high, value);
    if (index > 1) jumps += Math.abs(value - 2 * values[index - 1] + values[index - 2]);
  });
  return jumps / (values.length - 2) > .02 * (high - low);
}

/** Return a line's colour, lighter on dark paper and darker on light paper where it would not be seen. */
function seen(hex) {
  const parts = [1, 3, 5].map(start => parseInt(hex.slice(start, start + 2), 16));
  const light = (.3 * parts[0] + .59 * parts[1] + .11 * parts[2]) / 255;
  const share = dark.matches ? Math.max(0, .55 - light) : Math.max(0, light - .7), target = dark.matches ? 255 : 0;
  return `rgb(${parts.map(value => Math.round(value + share * (target - value))).join(",")})`;
}

/** Return what plotly draws of lines; with `named`, each point tells its line's name, where no common label does. */
function traces(lines, named) {
  return lines.flatMap((line, index) => {
    const color = seen(line.color), name = escaped(line.name);
    const one = { x: line.x, y: line.y, name, type: "scatter", mode: line.x.length < 30 ? "lines+markers" : "lines", legendgroup: String(index),
      line: { color, width: 2, dash: line.dash || "solid" }, marker: { size: 5, color },
      hovertemplate: named ? "%{fullData.name} %{y:.3f}<extra></extra>" : "%{y:.4g}" };
    if (!noisy(line.y)) return [one];
    return [{ ...one, mode: "lines", opacity: .3, line: { ...one.line, width: 1 }, showlegend: false, hoverinfo: "skip", hovertemplate: undefined },
      { ...one, mode: "lines", y: runningMean(line.y) }];
  });
}

function drawPanel(place) {
  const panel = data.panels[Number(place.dataset.panel)];
  const many = panel.lines.length > 8, values = panel.lines.flatMap(line => line.y);
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  const range = low === high ? { range: low ? [Math.min(0, 2 * low), Math.max(0, 2 * low)] : [-1, 1] } : {};  // else ±1 around a rate of 0.001
  Plotly.react(place, traces(panel.lines, many), layout({
    xaxis: axis({ title: { text: "step", font: { size: 11 }, standoff: 4 } }), yaxis: axis(range), hovermode: many ? "closest" : "x unified",
    showlegend: !(many && place.clientWidth < 420),
    legend: many ? { font: { size: 11 } } : { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 } } }), CONFIG);
  if (place.tabIndex < 0) {
    zoomByKeys(place);
    if (panel.lines.length > 1) listLines(place, panel);
  }
}

/** Let keys zoom a chart: + and - around the middle of its steps, arrows along them, 0 to all again. */
function zoomByKeys(place) {
  place.tabIndex = 0;
  place.addEventListener("keydown", event => {
    const [low, high] = place.layout.xaxis.range, size = high - low;
    const change = { "+": [.25, -.25], "-": [-.5, .5], ArrowLeft: [-.25, -.25], ArrowRight: [.25, .25], 0: null }[event.key];
    if (change === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    Plotly.relayout(place, change ? { "xaxis.range": [low + change[0] * size, high + change[1] * size] } : { "xaxis.autorange": true, "yaxis.autorange": true });
  });
}

/** List the lines of a chart under it, to be switched on and off without a pointer. */
function listLines(place, panel) {
  const list = document.createElement("details"), summary = document.createElement("summary");
  const tracesOf = index => place.data.flatMap((trace, at) => trace.legendgroup === String(index) ? [at] : []);
  const boxes = panel.lines.map((line, index) => {
    const label = document.createElement("label"), box = document.createElement("input");
    Object.assign(box, { type: "checkbox", checked: true });
    box.addEventListener("change", () => Plotly.restyle(place, { visible: box.checked ? true : "legendonly" }, tracesOf(index)));
    label.append(box, " " + line.name);
    list.append(label, " ");
    return box;
  });
  list.className = "lines";
  summary.textContent = "lines";
  list.prepend(summary);
  place.after(list);
  place.on("plotly_restyle", () => boxes.forEach((box, index) => { box.checked = place.data[tracesOf(index)[0]].visible !== "legendonly"; }));
}

/** Draw charts when they come into sight, and again when light turns to dark. */
function charts(draw) {
  const places = [...document.querySelectorAll(".chart[data-panel], #matrix")], drawn = new Set();
  const show = place => { drawn.add(place); draw(place); };
  const seen = new IntersectionObserver(entries => entries.filter(entry => entry.isIntersecting && !drawn.has(entry.target)).forEach(entry => {
    seen.unobserve(entry.target);
    show(entry.target);
  }), { rootMargin: "400px" });
  places.forEach(place => seen.observe(place));
  dark.addEventListener("change", () => drawn.forEach(draw));
  window.addEventListener("beforeprint", () => places.forEach(place => { if (!drawn.has(place)) show(place); }));
}

/** Draw the confusion matrix; `chosen(truth, prediction)` is called on a click. */
function drawMatrix(place, mode, chosen) {
  const size = data.names.length, zeros = () => Array.from({ length: size }, () => new Array(size).fill(0));
  const counts = zeros(), rows = new Array(size).fill(0), columns = new Array(size).fill(0);
  data.matrix.forEach(([t, p, n]) => { counts[t][p] = n; rows[t] += n; columns[p] += n; });
  const share = (part, whole) => whole ? part / whole : null;
  const z = counts.map((row, t) => row.map((n, p) =>
    mode === "pixels" ? (n ? Math.log10(n) : null) : share(n, mode === "truth" ? rows[t] : columns[p])));
  const names = data.names.map(name => escaped(name));
  const told = counts.map((row, t) => row.map((n, p) => [names[t], names[p], n.toLocaleString("en"), percent(share(n, rows[t])), percent(share(n, columns[p]))]));
  const step = Math.ceil(size / 40), ticks = data.names.map((_, index) => index).filter(index => index % step === 0);
  const labels = ticks.map(index => escaped(data.names[index], place.clientWidth < 420 ? 10 : 16));
  const side = axis({ tickvals: ticks, ticktext: labels, showgrid: false, ticks: "", ticklabeloverflow: "allow", tickfont: { size: size > 30 ? 8 : 11 } });
  const height = Math.min(900, Math.max(330, Math.min(place.clientWidth, 60 + 34 * size + 60)));
  place.style.height = height + "px";
  Plotly.react(place, [{ type: "heatmap", z, customdata: told, showscale: false, hoverongaps: true, xgap: size > 60 ? 0 : 1, ygap: size > 60 ? 0 : 1,
    zmin: 0, zmax: mode === "pixels" ? Math.max(1, ...data.matrix.map(([, , n]) => Math.log10(n))) : 1, colorscale: [[0, variable("--wash")], [.02, mixed(.18)], [.2, mixed(.45)], [1, variable("--hot")]],
    hovertemplate: "<b>%{customdata[0]}</b> taken for <b>%{customdata[1]}</b><br>%{customdata[2]} pixels<br>%{customdata[3]} of the truth<br>%{customdata[4]} of the prediction<extra></extra>" }],
  layout({ xaxis: { ...side, side: "top", tickangle: -60 }, yaxis: { ...side, autorange: "reversed" }, margin: { l: 20, r: 44, t: 20, b: 6 }, dragmode: size > 40 ? "zoom" : false }), CONFIG);
  if (!place.clickable) {
    place.clickable = true;
    place.on("plotly_click", event => chosen(event.points[0].y, event.points[0].x));
  }
}

/** Return a colour between paper and the darkest cell. */
function mixed(share) {
  const parts = name => variable(name).match(/[0-9a-f]{2}/gi).map(pair => parseInt(pair, 16));
  const low = parts("--cold"), high = parts("--hot");
  return `rgb(${low.map((value, index) => Math.round(value + share * (high[index] - value))).join(",")})`;
}
