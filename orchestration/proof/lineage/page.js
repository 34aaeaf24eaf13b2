"use strict";
const page = document.documentElement;
const links = [...document.querySelectorAll(".pick a")];
const find = document.getElementById("find");
const nothing = document.querySelector(".nothing");
const details = (link) => link.closest("details");
const groups = [...document.querySelectorAll(".pick details")];
const opened = groups.map((group) => group.open);

function show() {
  const id = decodeURIComponent(location.hash.slice(1));
  const chosen = id && document.getElementById(id);
  for (const old of document.querySelectorAll("article.shown")) old.classList.remove("shown");
  for (const link of links) {
    if (link.hash === location.hash) { link.setAttribute("aria-current", "true"); if (details(link)) details(link).open = true; }
    else link.removeAttribute("aria-current");
  }
  page.classList.toggle("none", !chosen);
  if (chosen) { chosen.classList.add("shown"); chosen.scrollIntoView({ block: "nearest" }); }
}

function narrow() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const link of links) {
    const name = link.dataset.name.toLowerCase();
    if (details(link)) link.parentElement.hidden = !words.every((word) => name.includes(word));
  }
  groups.forEach((group, at) => {
    const some = group.querySelector("li:not([hidden])");
    group.hidden = !some;
    group.open = words.length ? Boolean(some) : opened[at];
  });
  nothing.hidden = links.some((link) => details(link) && !link.parentElement.hidden);
}

function visible() {
  return links.filter((link) => !link.parentElement.hidden && (!details(link) || details(link).open));
}

function step(by) {
  const list = visible();
  const at = list.indexOf(document.activeElement);
  const next = list[at < 0 ? (by > 0 ? 0 : list.length - 1) : at + by];
  (next || find).focus();
}

document.addEventListener("keydown", (event) => {
  const inList = document.activeElement === find || links.includes(document.activeElement);
  if (event.key === "/" && document.activeElement !== find) { event.preventDefault(); find.focus(); find.select(); }
  else if (event.key === "Escape" && document.activeElement === find) { find.value = ""; narrow(); }
  else if (event.key === "Enter" && document.activeElement === find) { const first = visible()[0]; if (first) location.hash = first.hash; }
  else if (inList && (event.key === "ArrowDown" || event.key === "ArrowUp")) { event.preventDefault(); step(event.key === "ArrowDown" ? 1 : -1); }
});
find.addEventListener("input", narrow);
addEventListener("hashchange", show);
page.classList.add("js");
show();
