"""What builds print, in the words of npm, Yarn, pnpm, Vite, Next, Astro, webpack and others: dictionaries for zlib.

None may ever be changed, as what was written with it is read with it. A better one is a new one, with the next number.
What is printed most stands at the end, where zlib's references to it are shortest.
"""

_FIRST = """\
Compiled with warnings.
Failed to compile.
error Command failed with exit code 1.
npm error code ELIFECYCLE
npm error code ERESOLVE
npm error ERESOLVE unable to resolve dependency tree
npm error code E404
npm error 404 Not Found - GET
npm error A complete log of this run can be found in: /home/builder/.npm/_logs/
npm error command failed
npm error command sh -c
npm error path
Error: Cannot find module '
Error [ERR_MODULE_NOT_FOUND]: Cannot find package '
Require stack:
    at Module._resolveFilename (node:internal/modules/cjs/loader:
    at async
    at Object.<anonymous> (
    at process.processTicksAndRejections (node:internal/process/task_queues:
  code: 'MODULE_NOT_FOUND',
Type error: Property ' does not exist on type '
error TS2307: Cannot find module ' or its corresponding type declarations.
error TS2339:
error TS2322: Type ' is not assignable to type '
Module not found: Error: Can't resolve '
[vite]: Rollup failed to resolve import "
✗ Build failed in
Error: Build failed with 1 error:
Syntax error: Unexpected token
ReferenceError: is not defined
TypeError: Cannot read properties of undefined (reading '
 ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with "frozen-lockfile" because pnpm-lock.yaml is not up to date with \
package.json
 ERR_PNPM_
 ELIFECYCLE  Command failed with exit code 1.
JavaScript heap out of memory
FATAL ERROR: Reached heap limit Allocation failed -
<--- Last few GCs --->
Killed
npm warn EBADENGINE Unsupported engine {
npm warn EBADENGINE   package: '@0.0',
npm warn EBADENGINE   required: { node: '>=
npm warn EBADENGINE   current: { node: 'v22.12.0', npm: '10.9.0' }
npm warn EBADENGINE }
npm warn ERESOLVE overriding peer dependency
npm warn While resolving:
npm warn Found:
npm warn node_modules/
npm warn Could not resolve dependency:
npm warn peer @" from
npm warn Unknown user config "". Unknown project config "". This will stop working in the next major version of npm. \
See `npm help npmrc` for supported config options.
npm warn deprecated inflight@1.0.6: This module is not supported, and leaks memory. Do not use it. Check out \
lru-cache if you want a good and tested way to coalesce async requests by a key value, which is much more \
comprehensive and powerful.
npm warn deprecated rimraf@3.0.2: Rimraf versions prior to v4 are no longer supported
npm warn deprecated glob@7.2.3: Glob versions prior to v9 are no longer supported
npm warn deprecated @eslint/eslint@8.57.1: This version is no longer supported. Please see https://eslint.org/ for \
other options.
npm warn deprecated @humanwhocodes/object-schema@2.0.3: Use @eslint/object-schema instead
npm warn deprecated : Please upgrade to the latest version, this package has been deprecated in favor of \
https://github.com/

added 1 package in 2s

added 123 packages, removed 4 packages, changed 2 packages, and audited 1234 packages in 12s

12 packages are looking for funding
  run `npm fund` for details

found 0 vulnerabilities

3 vulnerabilities (1 low, 1 moderate, 2 high, 1 critical)

To address all issues (including breaking changes), run:
  npm audit fix --force

Run `npm audit` for details.
npm notice New major version of npm available! 10.9.0 -> 11.0.0
npm notice Changelog: https://github.com/npm/cli/releases/tag/v
npm notice To update run: npm install -g npm@
yarn install v1.22.22
[1/4] Resolving packages...
[2/4] Fetching packages...
[3/4] Linking dependencies...
[4/4] Building fresh packages...
success Saved lockfile.
warning " > has unmet peer dependency "
warning package.json: No license field
yarn run v1.22.22
$
Done in 1.23s.
➤ YN0000: · Yarn 4.5.0
➤ YN0000: ┌ Resolution step
➤ YN0000: └ Completed
➤ YN0000: ┌ Post-resolution validation
➤ YN0000: ┌ Fetch step
➤ YN0013: │ A package was added to the project (+ MiB).
➤ YN0000: └ Completed in 1s 234ms
➤ YN0000: ┌ Link step
➤ YN0007: │ must be built because it never has been before or the last one failed
➤ YN0000: · Done in 2s 345ms
➤ YN0002: │ doesn't provide (), requested by
➤ YN0086: │ Some peer dependencies are incorrectly met by your project; run yarn explain peer-requirements <hash> \
for details
Lockfile is up to date, resolution step is skipped
Progress: resolved 1, reused 0, downloaded 0, added 0
Packages: +123
++++++++++++++++++++++++++++++++++++++++
Progress: resolved 123, reused 123, downloaded 0, added 123, done
dependencies:
+
devDependencies:
 WARN  deprecated subdependencies found:
node_modules/.pnpm/ postinstall$
 postinstall: Done
Done in 1.2s using pnpm v9.15.9
==> Cloning https://github.com/.git (default branch)
==> Cloned main at
==> Note: this repository has submodules; they are not fetched
==> Installing with npm ci
==> Installing with yarn install --frozen-lockfile (yarn 1.22.22)
==> Installing with pnpm install --frozen-lockfile (pnpm 9.15.9)
==> Building with npm run build (Vite)
==> Nothing to build: the files are published as they are
==> Failed: The build command ended with exit code 1
==> What to do:
==> Uploading 12 files, 1.2 MB
==> Ready: 12 files in 12.3 s
Browserslist: caniuse-lite is outdated. Please run:
  npx update-browserslist-db@latest
(node:1234) DeprecationWarning: Use `node --trace-deprecation ...` to show where the warning was created
(node:1234) [DEP0040] DeprecationWarning: The `punycode` module is deprecated. Please use a userland alternative \
instead.
Attention: Next.js now collects completely anonymous telemetry regarding usage.
https://nextjs.org/telemetry
   ▲ Next.js 15.1.0
   - Environments: .env.production
   Creating an optimized production build ...
 ✓ Compiled successfully in 12.3s
   Linting and checking validity of types ...
   Collecting page data ...
   Generating static pages (0/12) ...
 ✓ Generating static pages (12/12)
   Finalizing page optimization ...
   Collecting build traces ...

Route (app)                              Size     First Load JS
┌ ○ /                                    5.57 kB         106 kB
├ ○ /_not-found                          979 B
├ ● /blog/[slug]                         1.23 kB
├ ƒ /api/
├ λ /
+ First Load JS shared by all            105 kB
  ├ chunks/4bd1b696-.js  52.9 kB
  ├ chunks/517-.js  50.5 kB
  └ other shared chunks (total)  1.9 kB
○  (Static)   prerendered as static content
●  (SSG)      prerendered as static HTML (uses generateStaticParams)
ƒ  (Dynamic)  server-rendered on demand
12:34:56 [types] Generated 123ms
12:34:56 [build] output: "static"
12:34:56 [build] mode: "static"
12:34:56 [build] directory:
12:34:56 [build] Collecting build info...
12:34:56 [content] Syncing content
12:34:56 [build] ✓ Completed in 123ms.
12:34:56 [build] Building static entrypoints...
12:34:56 [vite] ✓ built in 1.23s

 building client (vite)

 generating static routes
12:34:56 ▶ src/pages/index.astro
12:34:56   └─ /index.html (+12ms)
12:34:56   ├─ /blog//index.html (+3ms)
12:34:56 ✓ Completed in 123ms.
12:34:56 [build] 12 page(s) built in 1.23s
12:34:56 [build] Complete!
Creating an optimized production build...
Compiled successfully.

File sizes after gzip:

  46.6 kB  build/static/js/main..js
  1.77 kB  build/static/js/.chunk.js
  513 B    build/static/css/main..css

The project was built assuming it is hosted at /.
asset main.js 123 KiB [emitted] [minimized] (name: main) 1 related asset
runtime modules 1.23 KiB 5 modules
cacheable modules 123 KiB
  modules by path ./node_modules/ 123 KiB
  ./src/index.js 1.23 KiB [built] [code generated]
webpack 5.97.1 compiled successfully in 1234 ms
webpack compiled with 1 warning
WARNING in asset size limit: The following asset(s) exceed the recommended size limit (244 KiB).
success Building production JavaScript and CSS bundles - 12.345s
success Building static HTML for pages - 1.234s - 12/12 9.87/s
info Done building in 12.345 sec
[SUCCESS] Generated static files in "build".
[INFO] [en] Creating an optimized production build...
[11ty] Writing ./_site/index.html from ./index.md (liquid)
[11ty] Copied 1 Wrote 12 files in 0.12 seconds (v3.0.0)
✔ Browser application bundle generation complete.
Initial chunk files   | Names         |  Raw size | Estimated transfer size
chunk-.js     | -             |   1.23 kB |               456 bytes
Application bundle generation complete. [1.234 seconds]
> Using @sveltejs/adapter-static
  Wrote site to "build"
  ✔ done
[nitro] \u2139 Prerendering 12 routes
[nitro]   ├─ / (12ms)
\u2139 Client built in 1234ms
\u2139 Building server...
✔ Server built in 123ms
(!) Some chunks are larger than 500 kB after minification. Consider:
- Using dynamic import() to code-split the application
- Use build.rollupOptions.output.manualChunks to improve chunking: \
https://rollupjs.org/configuration-options/#output-manualchunks
- Adjust chunk size limit for this warning via build.chunkSizeWarningLimit.
\x1b[33m\x1b[1m\x1b[31m\x1b[34m\x1b[90m\x1b[22m\x1b[39m\x1b[32m✓\x1b[39m\x1b[32m✓\x1b[0m

> site@1.0.0 build
> tsc -b && vite build

> vite build

vite v6.0.0 building for production...
vite v7.0.0 building client environment for production...
\x1b[36mvite v6.0.0 \x1b[32mbuilding for production...\x1b[36m\x1b[39m
\x1b[36mvite v8.0.0 \x1b[32mbuilding client environment for production...\x1b[36m\x1b[39m
transforming...
✓ 123 modules transformed.
\x1b[32m✓\x1b[39m 123 modules transformed.
\x1b[32m✓\x1b[0m 123 modules transformed.
rendering chunks...
computing gzip size...
✓ built in 1.23s
\x1b[32m✓ built in 1.23s\x1b[39m
dist/index.html                   0.46 kB │ gzip:  0.30 kB
dist/assets/index-DiwrgTda.css    1.39 kB │ gzip:  0.72 kB
dist/assets/index-DVoHNO1Y.js   143.36 kB │ gzip: 46.07 kB │ map: 1,234.56 kB
\x1b[2mdist/\x1b[22m\x1b[32mindex.html                 \x1b[39m\x1b[1m\x1b[2m  0.46 kB\x1b[22m\x1b[1m\x1b[22m\x1b[2m \
│ gzip:  0.30 kB\x1b[22m
\x1b[2mdist/\x1b[22m\x1b[35massets/index-D8b4DHJx.css  \x1b[39m\x1b[1m\x1b[2m  1.39 kB\x1b[22m\x1b[1m\x1b[22m\x1b[2m \
│ gzip:  0.71 kB\x1b[22m
\x1b[2mdist/\x1b[22m\x1b[2massets/\x1b[22m\x1b[36mindex-CDjJ1Jpa.js   \x1b[39m\x1b[1m\x1b[2m143.42 \
kB\x1b[22m\x1b[1m\x1b[22m\x1b[2m │ gzip: 46.10 kB\x1b[22m
\x1b[2mdist/\x1b[0m\x1b[32mindex.html                   \x1b[0m\x1b[1;2m 0.46 kB\x1b[0m\x1b[2m │ gzip:  0.30 kB\x1b[0m
\x1b[2mdist/\x1b[0m\x1b[2massets/\x1b[0m\x1b[32mlogo-Bq2x9mTc.svg   \x1b[0m\x1b[1;2m 4.13 kB\x1b[0m\x1b[2m │ gzip:  \
2.05 kB\x1b[0m
\x1b[2mdist/\x1b[0m\x1b[2massets/\x1b[0m\x1b[35mindex-BtK5n8aQ.css  \x1b[0m\x1b[1;2m 1.39 kB\x1b[0m\x1b[2m │ gzip:  \
0.71 kB\x1b[0m
\x1b[2mdist/\x1b[0m\x1b[2massets/\x1b[0m\x1b[36mindex-CW3xRmVd.js   \x1b[0m\x1b[1;2m 0.12 kB\x1b[0m\x1b[2m │ gzip: \
0.13 kB\x1b[0m
"""

BY_NUMBER = {1: _FIRST.encode()}
NEWEST = max(BY_NUMBER)
