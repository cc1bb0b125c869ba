/** A registry of npm's protocol on this machine that holds just the packed tarballs: what Deno installs from. */
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import type { PackedPackage } from "./pack.ts"

export interface TarballRegistry {
  readonly url: string
  readonly port: number
  readonly close: () => Promise<void>
}

export const serveTarballs = async (packed: ReadonlyArray<PackedPackage>): Promise<TarballRegistry> => {
  let url = ""
  const documentOf = ({ manifest: { name, version }, contents, tarball }: PackedPackage) => {
    const published = JSON.parse(readFileSync(join(contents, "package.json"), "utf8")) as object // pack.ts has just written it
    const integrity = `sha512-${createHash("sha512").update(readFileSync(tarball)).digest("base64")}`
    const dist = { tarball: `${url}${name}/-/${version}.tgz`, integrity }
    return JSON.stringify({ name, "dist-tags": { latest: version }, versions: { [version]: { ...published, dist } } })
  }
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? "").slice(1)
    const one = packed.find(({ manifest }) => path === manifest.name || path.startsWith(`${manifest.name}/-/`))
    if (one === undefined) return response.writeHead(404).end()
    if (path === one.manifest.name) response.setHeader("content-type", "application/json").end(documentOf(one))
    else response.end(readFileSync(one.tarball))
  })
  await new Promise<void>((resolve) => server.listen(0, "localhost", resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP
  url = `http://localhost:${port}/`
  return { url, port, close: () => new Promise((resolve) => server.close(() => resolve())) }
}
