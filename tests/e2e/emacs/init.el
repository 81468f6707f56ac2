;; The configuration of the Emacs under test: that of docs/clients.md, with the command from the environment.
(package-initialize)
(require 'eglot)
(add-to-list 'eglot-server-programs
             `(python-mode . (,@(split-string-and-unquote (getenv "MIDWORD_TEST_COMMAND"))
                              :initializationOptions (:completionItems t :deadlineMs 60000))))
(add-hook 'python-mode-hook #'eglot-ensure)

;; For the test: one completion on a key that every terminal sends, and a door to look through.
(global-set-key (kbd "<f5>") #'completion-at-point)
(setq make-backup-files nil inhibit-startup-screen t server-socket-dir (getenv "MIDWORD_TEST_FOLDER"))
(require 'server)
(server-start)
