"use strict";

/* Tables that sort: empty cells stay last, whichever way. */
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[column].dataset.v ?? row.cells[column].textContent;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y, "en", { numeric: true }) : x - y;
      return up ? order : -order;
    });
    table.tBodies[0].append(...rows);
  }));
}

for (const box of document.querySelectorAll("input[data-filters]")) {
  box.addEventListener("input", () => {
    const wanted = box.value.toLowerCase();
    for (const row of document.getElementById(box.dataset.filters).tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}

const feature = document.getElementById("feature");
if (feature) {
  const show = () => document.querySelectorAll("[data-feature]").forEach(part => { part.hidden = part.dataset.feature !== feature.value; });
  feature.addEventListener("change", show);
  show();
}

/* The grid of videos: each cell shows the clip nearest to the slider's level, from where the one before had got to. */
const films = document.getElementById("films");
if (films) {
  const all = JSON.parse(document.getElementById("film-data").textContent);
  const slider = document.getElementById("level"), said = document.getElementById("level-said");
  const links = new Map();
  const link = film => {
    if (!links.has(film)) {
      const bytes = Uint8Array.from(atob(film.data), letter => letter.charCodeAt(0));
      links.set(film, URL.createObjectURL(new Blob([bytes], { type: film.type })));
    }
    return links.get(film);
  };
  const nearest = (mine, level) => mine.reduce((best, film) => Math.abs(film.level - level) < Math.abs(best.level - level) ? film : best);
  const cells = [...films.querySelectorAll("td[data-system]")].map(cell => ({
    cell, shown: null, mine: all.filter(film => film.system === cell.dataset.system && film.emotion === cell.dataset.emotion),
  }));
  const show = level => {
    said.textContent = level;
    for (const entry of cells) {
      const film = nearest(entry.mine, level), place = entry.cell.querySelector(".film"), old = place.firstElementChild;
      if (film === entry.shown) continue;
      entry.shown = film;
      entry.cell.querySelector("small").textContent = film.level === null ? "no level" : `level ${+film.level.toFixed(1)}`;
      entry.cell.title = film.clip;
      const moving = film.type.startsWith("video/");
      const made = document.createElement(moving ? "video" : "img");
      if (moving) {
        Object.assign(made, { muted: true, loop: true, autoplay: true, playsInline: true });
        if (old) made.currentTime = old.currentTime;
      } else made.alt = film.clip;
      made.src = link(film);
      place.replaceChildren(made);
    }
  };
  slider.addEventListener("input", () => show(Number(slider.value)));
  show(Number(slider.value));
}
