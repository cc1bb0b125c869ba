/** The Hugging Face Hub: files of models and data sets in the cache that its Python tools use. */
export { bytesToFetch } from "./bytesToFetch.ts"
export { type FetchOptions, fetchFile } from "./fetchFile.ts"
export { HubError } from "./HubError.ts"
export { type HubSettings, hubSettings } from "./HubSettings.ts"
export { type HubRepo, isRepoId, openRepo, type RepoKind, type RepoName } from "./openRepo.ts"
