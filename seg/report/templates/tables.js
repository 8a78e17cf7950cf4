// Tables that a click on a heading sorts: numbers with the largest first, text from A; rows without a value last.

function sortable(table) {
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    const numeric = heading.classList.contains("number");
    const now = heading.getAttribute("aria-sort"), first = numeric ? "descending" : "ascending";
    const direction = now === "none" ? first : now === "ascending" ? "descending" : "ascending";
    headings.forEach(other => other.setAttribute("aria-sort", other === heading ? direction : "none"));
    const key = row => {
      const cell = row.cells[column], value = cell.dataset.value;
      return numeric ? (value === "" ? null : Number(value)) : cell.textContent;
    };
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...body.rows].map(row => [key(row), row]);
    rows.sort(([a], [b]) => a == null || b == null ? (a == null) - (b == null) : sign * (numeric ? a - b : a.localeCompare(b)));
    body.append(...rows.map(([, row]) => row));
  }));
}
