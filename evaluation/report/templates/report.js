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
const grid = document.getElementById("videos-grid");
if (grid) {
  const all = JSON.parse(document.getElementById("video-data").textContent);
  const slider = document.getElementById("level"), said = document.getElementById("level-said");
  const links = new Map();
  const link = clip => {
    if (!links.has(clip)) {
      const bytes = Uint8Array.from(atob(clip.data), letter => letter.charCodeAt(0));
      links.set(clip, URL.createObjectURL(new Blob([bytes], { type: clip.type })));
    }
    return links.get(clip);
  };
  const nearest = (mine, level) => mine.reduce((best, clip) => Math.abs(clip.level - level) < Math.abs(best.level - level) ? clip : best);
  const cells = [...grid.querySelectorAll("td[data-system]")].map(cell => ({
    cell, shown: null, mine: all.filter(clip => clip.system === cell.dataset.system && clip.emotion === cell.dataset.emotion),
  }));
  const show = level => {
    said.textContent = level;
    for (const entry of cells) {
      const clip = nearest(entry.mine, level), place = entry.cell.querySelector(".video"), old = place.firstElementChild;
      if (clip === entry.shown) continue;
      entry.shown = clip;
      entry.cell.querySelector("small").textContent = clip.level === null ? "no level" : `level ${+clip.level.toFixed(1)}`;
      entry.cell.title = clip.clip;
      const moving = clip.type.startsWith("video/");
      const made = document.createElement(moving ? "video" : "img");
      if (moving) {
        Object.assign(made, { muted: true, loop: true, autoplay: true, playsInline: true });
        if (old) made.currentTime = old.currentTime;
      } else made.alt = clip.clip;
      made.src = link(clip);
      place.replaceChildren(made);
    }
  };
  slider.addEventListener("input", () => show(Number(slider.value)));
  show(Number(slider.value));
}
