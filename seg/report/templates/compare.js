// The page of several runs: curves over each other, and the images on which they differ, painted when in sight.

document.documentElement.classList.add("scripted");
document.querySelectorAll("table.sortable").forEach(sortable);
charts(drawPanel);

async function paint(canvas) {
  const found = await pictures(canvas.dataset.picture).catch(() => null);
  if (found) paintLayer(canvas, found, canvas.dataset.layer, { cls: null, pair: null }, .65);
}

const canvases = document.querySelectorAll("canvas[data-picture]");
const inSight = new IntersectionObserver(entries => entries.filter(entry => entry.isIntersecting).forEach(({ target }) => {
  inSight.unobserve(target);
  paint(target);
}), { rootMargin: "400px" });
canvases.forEach(canvas => inSight.observe(canvas));
window.addEventListener("beforeprint", () => canvases.forEach(paint));
