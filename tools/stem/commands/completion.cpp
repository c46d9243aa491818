// `stem completion SHELL` prints a small script that asks `stem completion next` what may come next.
#include <fmt/format.h>

#include <memory>

#include "tools/stem/commands/commands.hpp"
#include "tools/stem/completion.hpp"

namespace stem::cli {
namespace {

// bash splits --flag=value into three words at the sign; the sign is dropped again. Its readline cuts
// nothing of a word, so help texts are left out.
constexpr char kBashScript[] = R"(# bash completion for stem; made by: stem completion bash
_stem() {
  local -a words=()
  local word line cur=${COMP_WORDS[COMP_CWORD]} IFS=$'\n'
  for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
    [[ $word == = ]] || words+=("$word")
  done
  [[ $cur == = ]] && cur= && words+=("")
  COMPREPLY=()
  for line in $("${COMP_WORDS[0]}" completion next -- "${words[@]}" 2>/dev/null); do
    if [[ $line == :files ]]; then
      compopt -o filenames 2>/dev/null
      COMPREPLY+=($(compgen -f -- "$cur"))
    else
      COMPREPLY+=("${line%%$'\t'*}")
    fi
  done
}
complete -F _stem stem
)";

constexpr char kZshScript[] = R"(#compdef stem
# zsh completion for stem; made by: stem completion zsh
_stem() {
  local line name files
  local -a candidates
  for line in "${(@f)$("${words[1]}" completion next -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    name=${line%%$'\t'*}
    case $line in
      '') ;;
      :files) files=yes ;;
      *$'\t'*) candidates+=("${name//:/\\:}:${line#*$'\t'}") ;;
      *) candidates+=("${name//:/\\:}") ;;
    esac
  done
  (( $#candidates )) && _describe -t stem 'stem' candidates
  if [[ -n $files ]]; then
    [[ $PREFIX == --*=* ]] && compset -P '*='
    _files
  fi
}
if [[ $funcstack[1] == _stem ]]; then _stem "$@"; else compdef _stem stem; fi
)";

constexpr char kFishScript[] = R"(# fish completion for stem; made by: stem completion fish
function __stem_next
  set -l words (commandline -opc) (commandline -ct)
  $words[1] completion next -- $words[2..-1] 2>/dev/null
end
complete -c stem -f
complete -c stem -f -a '(__stem_next | string match -v :files)'
complete -c stem -n '__stem_next | string match -q :files' -F
)";

template <const char* Script>
Run build_script(CommandLine&) {
  return [](const Context&) {
    fmt::print("{}", Script);
    return kExitOk;
  };
}

int print_next(const std::vector<std::string>& words) {
  const Candidates found = complete(words);
  for (const Candidate& candidate : found.words) {
    fmt::print("{}{}{}\n", candidate.word, candidate.help.empty() ? "" : "\t", candidate.help);
  }
  if (found.files) fmt::print(":files\n");
  return kExitOk;
}

Run build_next(CommandLine& line) {
  auto words = std::make_shared<std::vector<std::string>>();
  line.arguments("WORD", words.get(), "the words after stem, the last being typed; put -- before them");
  return [words](const Context&) { return print_next(*words); };
}

}  // namespace

std::vector<Command> completion_commands() {
  return {{.path = "completion bash",
           .group = Group::kSetup,
           .help = "Print the completion script for bash",
           .examples = {{"source <(stem completion bash)", "this shell; put it in ~/.bashrc to keep"},
                        {"stem completion bash > ~/.local/share/bash-completion/completions/stem",
                         "with the package bash-completion"}},
           .build = build_script<kBashScript>},
          {.path = "completion zsh",
           .group = Group::kSetup,
           .help = "Print the completion script for zsh",
           .examples = {{"source <(stem completion zsh)", "after compinit, in ~/.zshrc"},
                        {"stem completion zsh > \"${fpath[1]}/_stem\"", "for good"}},
           .build = build_script<kZshScript>},
          {.path = "completion fish",
           .group = Group::kSetup,
           .help = "Print the completion script for fish",
           .examples = {{"stem completion fish | source", "this shell"},
                        {"stem completion fish > ~/.config/fish/completions/stem.fish", "for good"}},
           .build = build_script<kFishScript>},
          {.path = "completion next",
           .group = Group::kSetup,
           .help = "Print what may come next after some words (the scripts ask this)",
           .details = "One candidate a line, its help after a tab; the line ':files' asks for names of "
                      "files as well.",
           .examples = {{"stem completion next -- config ''", ""}},
           .build = build_next}};
}

}  // namespace stem::cli
