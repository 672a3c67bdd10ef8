// Small helps. Every page works without them.
"use strict";

// A form that is being sent is not sent again by a second click. (The server would do it once.) After
// a download, the page stays: such a form can be sent again.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || form.hasAttribute("data-again")) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
});

// The browser may show a page again as it was when it was left.
window.addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

// A part whose stream has ended is asked for as at first, and not as a stream that goes on: there may
// be no place for one, or nobody is logged in any more. After that, it is asked for every 15 seconds.
document.addEventListener("htmx:sse:close", (event) => {
  if (event.detail.reason !== "ended") return;
  setTimeout(() => htmx.trigger(event.target, "every"), 500 + 2000 * Math.random());
});
