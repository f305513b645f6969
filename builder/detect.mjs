// Prints the framework of a project as JSON: {"id", "name", "command", "directory"}, or null. Paths: checkout, project.
import { getBuildInfo } from "@netlify/build-info/node";

const [checkout, project] = process.argv.slice(2);
const { frameworks } = await getBuildInfo({ rootDir: checkout, projectDir: project });
const framework = frameworks[0]?.toJSON();
console.log(
  JSON.stringify(
    framework
      ? {
          id: framework.id,
          name: framework.name,
          command: framework.build.commands[0],
          directory: framework.build.directory,
        }
      : null,
  ),
);
