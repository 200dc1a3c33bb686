// SPDX-License-Identifier: MIT
// The phone's storage, for Node.js.
const kept = new Map();
export default {
  getItem: async (key) => kept.get(key) ?? null,
  setItem: async (key, value) => { kept.set(key, value); },
  removeItem: async (key) => { kept.delete(key); },
};
