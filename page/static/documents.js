// The table of documents works without this; with it the progress is shown while it is made.
"use strict";

// While the main button or a finger is down nothing is exchanged: the click would be lost, or meet another row. A menu,
// a drag or another window may take the end of a press, and the other buttons click on nothing.
let pressed = false;
const release = () => { pressed = false; };
document.addEventListener("pointerdown", (event) => { if (event.button === 0) pressed = true; }, true);
for (const kind of ["pointerup", "pointercancel", "contextmenu"]) document.addEventListener(kind, release, true);
window.addEventListener("blur", release);  // of the window alone: a press takes the focus from an element, too

const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

const scoring = document.getElementById("scoring");
if (scoring) follow(scoring);
const upload = document.getElementById("upload");
if (upload) upload.addEventListener("submit", send);

async function follow(part) {
  const bar = part.querySelector("progress");
  const words = part.querySelector(".words");
  let shown = document.querySelectorAll("#rows tbody tr").length;
  for (;;) {
    await pause(700);
    let now;
    try {
      const response = await fetch(part.dataset.progress);
      if (!response.ok) return;
      now = await response.json();
    } catch {
      words.textContent = "The server does not answer. Is attention_viewer.py still running?";
      return;
    }
    words.textContent = now.words;
    if (now.share === null) bar.removeAttribute("value");
    else bar.value = now.share;
    const finished = now.state !== "waiting" && now.state !== "working";
    if (finished || (!shown && now.documents)) {
      if (document.activeElement && document.activeElement.closest(".filter, #upload")) {
        if (finished) return;
        continue;
      }
      if (await show(finished)) shown = 1;
      if (finished) return;
    }
  }
}

// Takes the rows, and at the end the line above them, from a page asked for again.
async function show(finished) {
  const response = await fetch(location.href);
  if (!response.ok) return false;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  while (pressed) await pause(50);
  const focused = document.activeElement?.closest("#rows a")?.getAttribute("href");
  for (const selector of finished ? [".scoring", "#rows"] : ["#rows"]) {
    const from = page.querySelector(selector);
    const to = document.querySelector(selector);
    if (from && to) to.replaceWith(document.importNode(from, true));
  }
  // Whoever reads the rows with the keyboard stays at the same link, which may be in another place now.
  if (focused) [...document.querySelectorAll("#rows a")].find((link) => link.getAttribute("href") === focused)?.focus();
  const line = document.querySelector(".scoring .words");
  if (finished && line) line.setAttribute("role", "status");
  return true;
}

function send(event) {
  event.preventDefault();
  const line = document.getElementById("upload-progress");
  const bar = line.querySelector("progress");
  const words = line.querySelector("span");
  const cancel = document.getElementById("upload-cancel");
  const request = new XMLHttpRequest();
  const end = (text) => {
    words.textContent = text;
    cancel.hidden = true;
    bar.hidden = true;
  };
  line.hidden = cancel.hidden = bar.hidden = false;
  cancel.onclick = () => request.abort();
  request.upload.onprogress = (progress) => {
    bar.value = progress.loaded / progress.total;
    words.textContent = `${Math.floor(100 * bar.value)}% uploaded`;
  };
  request.onload = () => {
    if (request.status < 400) {
      location.assign(request.responseURL);
      return;
    }
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    const error = page.querySelector(".error");
    end(error ? error.textContent : `The server refused the file (${request.status}).`);
  };
  request.onerror = () => end("The server does not accept this file, or does not answer.");
  request.onabort = () => end("Cancelled.");
  request.open("POST", upload.action);
  request.send(new FormData(upload));
}
