// SPDX-License-Identifier: MIT
import { ask, inWords, knowsPasskeys } from "./passkeys.js";

const form = document.getElementById("add-passkey");
const error = document.getElementById("passkey-error");

if (knowsPasskeys()) {
  form.hidden = false;
  document.getElementById("passkey-needs-script").hidden = true;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    register();
  });
}

async function register() {
  const button = form.querySelector("button");
  button.disabled = true;
  error.hidden = true;
  try {
    const { publicKey } = await ask("/passkeys/registration/options", {});
    const credential = await navigator.credentials.create({
      publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey),
    });
    await ask("/passkeys/registration", { name: form.elements.name.value, credential: credential.toJSON() });
    location.assign("/account/passkeys");
  } catch (reason) {
    error.textContent = inWords(reason);
    error.hidden = false;
    button.disabled = false;
  }
}
