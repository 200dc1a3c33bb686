// SPDX-License-Identifier: MIT

/**
 * A button that shows and hides what was typed into the field that it controls. Without scripts it stays hidden.
 *
 * @param {HTMLButtonElement} button
 */
export function revealPassword(button) {
  const field = document.getElementById(button.getAttribute("aria-controls"));
  button.hidden = false;
  button.addEventListener("click", () => show(field.type === "password"));
  field.form.addEventListener("submit", () => show(false)); // else browsers remember it as ordinary text

  function show(isShown) {
    field.type = isShown ? "text" : "password";
    button.setAttribute("aria-pressed", String(isShown));
  }
}
