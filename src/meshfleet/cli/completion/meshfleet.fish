# Completion of meshfleet in fish; in ~/.config/fish/config.fish: meshfleet completion fish | source
function __meshfleet_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l begun (commandline --current-token --cut-at-cursor)
    set -l program (string replace --regex '^~/' "$HOME/" -- $words[1])
    set --erase words[1]
    $program __complete -- $words "$begun" 2>/dev/null </dev/null
    if test $status -eq 3
        __fish_complete_path "$begun"
    end
end
complete --command meshfleet --no-files --keep-order --arguments '(__meshfleet_complete)'
